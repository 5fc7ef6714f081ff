import { PageConfig } from '@jupyterlab/coreutils';
import plugins, { Scheduler } from '@jupyterlab/scheduler';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { IPlugin } from '@lumino/application';

import { createAdvancedOptions } from './advanced-options.js';
import { OPTION, readSettings } from './settings.js';

const UPSTREAM = '@jupyterlab/scheduler:IAdvancedOptions';

/**
 * Upstream's own advanced options: tags, and a job's idempotency token. Its plugin
 * is disabled, since one token has one provider, so that ours shows it.
 */
function upstreamOptions(app: unknown): Scheduler.IAdvancedOptions {
  const upstream = plugins.find(plugin => plugin.id === UPSTREAM);
  const component = upstream?.activate(app);
  return (component as Scheduler.IAdvancedOptions | undefined) ?? (() => null);
}

const plugin: IPlugin<unknown, Scheduler.IAdvancedOptions> = {
  id: 'jupyter-scheduler-k8s:advanced-options',
  description: 'The options of a Kubernetes job, in the forms of jupyter-scheduler',
  autoStart: true,
  provides: Scheduler.IAdvancedOptions,
  optional: [ITranslator],
  activate: (app: unknown, translator: ITranslator | null) => {
    const upstream = upstreamOptions(app);
    const settings = readSettings(PageConfig.getOption(OPTION));
    if (settings === null) {
      return upstream;
    }
    const trans = (translator ?? nullTranslator).load('jupyter_scheduler_k8s');
    return createAdvancedOptions({ upstream, settings, trans });
  }
};

export default plugin;
