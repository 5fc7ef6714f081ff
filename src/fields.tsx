import { FormHelperText, FormLabel, MenuItem, Stack, TextField } from '@mui/material';
import type { Scheduler } from '@jupyterlab/scheduler';
import React from 'react';

import type { IContext } from './advanced-options.js';
import { askCluster } from './cluster.js';
import { labels, policies } from './labels.js';
import {
  newVariable,
  OF_SCHEDULES,
  textOf,
  textOfVariables,
  variablesOf,
  withoutSchedule,
  withText
} from './parameters.js';
import { problem, remark, variableProblems, type ICluster } from './validation.js';
import { Variables } from './variables.js';

const PREFIX = 'jp-scheduler-k8s-';

/** The options of a job, or of a job definition, to be filled in. */
export function Fields(props: Scheduler.ICreateProps & { context: IContext }): JSX.Element {
  const { model, errors } = props;
  const { settings, trans } = props.context;
  const parameters = model.runtimeEnvironmentParameters;
  const names = labels(trans);
  const scheduled = model.createType === 'JobDefinition';

  // Rows hold more than their JSON can, such as one without a name yet.
  const [variables, setVariables] = React.useState(() =>
    variablesOf(textOf(parameters, 'k8s_env'))
  );
  const ofVariables = variableProblems(variables, settings, trans);

  // The form is there at once, and knows of the cluster when that answers.
  const [cluster, setCluster] = React.useState<ICluster | null>(null);
  React.useEffect(() => {
    let isOpen = true;
    void askCluster(trans).then(answer => isOpen && setCluster(answer));
    return () => {
      isOpen = false;
    };
  }, []);

  const isShown = (name: string) =>
    settings.parameters.includes(name) && (scheduled || !OF_SCHEDULES.includes(name));
  const anyOf = (...options: string[]) => options.some(isShown);
  const problems = Object.fromEntries(
    Object.keys(names).map(name => [
      name,
      isShown(name) ? problem(name, textOf(parameters, name), settings, trans) : ''
    ])
  );
  if (ofVariables.some(found => found.name || found.secret || found.key)) {
    problems.k8s_env = trans.__('An environment variable is not complete.');
  }

  const change = (changed: typeof parameters) =>
    props.handleModelChange({ ...model, runtimeEnvironmentParameters: changed });

  // Upstream holds back a form as long as one of its errors has a text.
  React.useEffect(() => {
    if (Object.keys(problems).some(name => problems[name] !== (errors[name] ?? ''))) {
      props.handleErrorsChange({ ...errors, ...problems });
    }
  });

  // A job that runs once is refused where it names what only schedules have.
  React.useEffect(() => {
    if (!scheduled && OF_SCHEDULES.some(name => textOf(parameters, name))) {
      change(withoutSchedule(parameters));
    }
  });

  const field = (name: string, placeholder: string, hint = '') =>
    isShown(name) && (
      <TextField
        key={name}
        id={PREFIX + name}
        name={name}
        label={names[name]}
        value={textOf(parameters, name)}
        onChange={event => change(withText(parameters, name, event.target.value))}
        placeholder={placeholder}
        error={!!problems[name]}
        helperText={
          problems[name] || remark(name, textOf(parameters, name), cluster, trans) || hint
        }
        InputLabelProps={{ shrink: true }}
        inputProps={{ autoComplete: 'off', spellCheck: false }}
        fullWidth
        margin="none"
      />
    );

  const choice = (name: string, byDefault: string, options: { [value: string]: string }) => (
    <TextField
      select
      id={PREFIX + name}
      name={name}
      label={names[name]}
      value={textOf(parameters, name) || byDefault}
      onChange={event => {
        const { value } = event.target;
        change(withText(parameters, name, value === byDefault ? '' : value));
      }}
      InputLabelProps={{ shrink: true }}
      SelectProps={{ displayEmpty: true }}
      fullWidth
      margin="none"
    >
      {Object.entries(options).map(([value, label]) => (
        <MenuItem key={value} value={value}>
          {label}
        </MenuItem>
      ))}
    </TextField>
  );
  const kind = textOf(parameters, 'k8s_gpu_kind');
  const kinds = (cluster?.gpu_kinds ?? []).map(({ value, label }) => [value, label]);

  return (
    <>
      {anyOf('k8s_cpu', 'k8s_memory', 'k8s_gpu') && (
        <Group label={trans.__('Resources')}>
          <Stack direction="row" spacing={2}>
            {field('k8s_cpu', trans.__('2 or 500m'))}
            {field('k8s_memory', trans.__('4Gi'))}
            {field('k8s_gpu', trans.__('1'))}
          </Stack>
          {isShown('k8s_gpu_kind') &&
            (kind || kinds.length > 0) &&
            choice('k8s_gpu_kind', '', {
              '': trans.__('The usual one'),
              ...(kind && { [kind]: kind }),
              ...Object.fromEntries(kinds)
            })}
        </Group>
      )}
      {anyOf('k8s_image', 'k8s_timeout_seconds', 'k8s_max_retries') && (
        <Group label={trans.__('Run')}>
          {field('k8s_image', settings.image)}
          <Stack direction="row" spacing={2}>
            {field(
              'k8s_timeout_seconds',
              settings.max_timeout_seconds ? String(settings.max_timeout_seconds) : '3600'
            )}
            {field('k8s_max_retries', '0')}
          </Stack>
        </Group>
      )}
      {anyOf(...OF_SCHEDULES) && (
        <Group label={trans.__('Scheduled runs')}>
          {isShown('k8s_concurrency_policy') &&
            choice('k8s_concurrency_policy', 'Forbid', policies(trans))}
          {field(
            'k8s_starting_deadline_seconds',
            '3600',
            trans.__('How long after its time a run that was missed may still begin')
          )}
        </Group>
      )}
      {isShown('k8s_env') && (
        <Group label={names.k8s_env}>
          <Variables
            idPrefix={`${PREFIX}k8s_env`}
            variables={variables}
            problems={ofVariables}
            context={props.context}
            add={() => setVariables([...variables, newVariable()])}
            change={changed => {
              setVariables(changed);
              change(withText(parameters, 'k8s_env', textOfVariables(changed)));
            }}
          />
        </Group>
      )}
      {/* Last, so that it moves no field under somebody's hand when it comes. */}
      {cluster?.remark && <FormHelperText role="status">{cluster.remark}</FormHelperText>}
    </>
  );
}

function Group(props: React.PropsWithChildren<{ label: string }>): JSX.Element {
  return (
    <Stack component="fieldset" spacing={3} sx={{ border: 0, margin: 0, padding: 0, minWidth: 0 }}>
      <FormLabel component="legend">{props.label}</FormLabel>
      {props.children}
    </Stack>
  );
}
