import { Stack } from '@mui/material';
import { JobsView, type Scheduler } from '@jupyterlab/scheduler';
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { Details } from './details.js';
import { Fields } from './fields.js';
import { Log } from './log.js';
import type { ISettings } from './settings.js';

/** What each part of the form is given, the same for all forms of a page. */
export interface IContext {
  settings: ISettings;
  trans: TranslationBundle;
}

/**
 * The advanced options of jobs that run on Kubernetes: fields in the form, and what
 * was asked for on the detail pages; upstream's own below.
 */
export function createAdvancedOptions(
  options: IContext & { upstream: Scheduler.IAdvancedOptions }
): Scheduler.IAdvancedOptions {
  const { upstream: Upstream, ...context } = options;
  return function AdvancedOptions(props: Scheduler.IAdvancedOptionsProps): JSX.Element {
    return (
      <Stack spacing={4} className="jp-SchedulerK8s">
        {props.jobsView === JobsView.CreateForm ? (
          <Fields {...props} context={context} />
        ) : (
          <Details parameters={props.model.runtimeEnvironmentParameters} trans={context.trans} />
        )}
        {props.jobsView === JobsView.JobDetail && context.settings.has_logs && (
          <Log job={props.model} trans={context.trans} />
        )}
        <Upstream {...props} />
      </Stack>
    );
  };
}
