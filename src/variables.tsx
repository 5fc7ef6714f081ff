import { Button, IconButton, MenuItem, Stack, SvgIcon, TextField } from '@mui/material';
import React from 'react';

import type { IContext } from './advanced-options.js';
import type { IVariable } from './parameters.js';
import type { VariableProblems } from './validation.js';

export interface IVariablesProps {
  idPrefix: string;
  variables: IVariable[];
  problems: VariableProblems[];
  context: IContext;
  add: () => void;
  change: (variables: IVariable[]) => void;
}

/** A job's environment variables, one row each. */
export function Variables(props: IVariablesProps): JSX.Element {
  const { variables } = props;
  const { trans } = props.context;
  const addButton = React.useRef<HTMLButtonElement>(null);
  const shown = React.useRef(variables.length);
  const added = variables.length > shown.current;
  React.useEffect(() => {
    shown.current = variables.length;
  }, [variables.length]);

  return (
    <Stack spacing={5}>
      {variables.map((variable, at) => (
        <Row
          key={variable.id}
          {...props}
          variable={variable}
          found={props.problems[at]}
          at={at}
          isNew={added && at === variables.length - 1}
          set={changed =>
            props.change(
              variables.map(other =>
                other.id === variable.id ? { ...variable, ...changed } : other
              )
            )
          }
          remove={() => {
            props.change(variables.filter(other => other.id !== variable.id));
            // The button that had the keyboard is gone.
            addButton.current?.focus();
          }}
        />
      ))}
      <Button
        ref={addButton}
        variant="outlined"
        onClick={props.add}
        sx={{ alignSelf: 'flex-start', textTransform: 'none' }}
      >
        {trans.__('Add a variable')}
      </Button>
    </Stack>
  );
}

interface IRowProps extends IVariablesProps {
  variable: IVariable;
  found: VariableProblems;
  at: number;
  isNew: boolean;
  set: (changed: Partial<IVariable>) => void;
  remove: () => void;
}

function Row(props: IRowProps): JSX.Element {
  const { variable, found, at, set } = props;
  const { settings, trans } = props.context;
  const fromSecret = variable.source === 'secret';

  const field = (
    part: 'name' | 'value' | 'secret' | 'key',
    label: string,
    problem: string,
    placeholder: string
  ) => (
    <TextField
      id={`${props.idPrefix}-${variable.id}-${part}`}
      label={label}
      value={variable[part]}
      onChange={event => set({ [part]: event.target.value })}
      placeholder={placeholder}
      error={!!problem}
      helperText={problem}
      autoFocus={part === 'name' && props.isNew}
      InputLabelProps={{ shrink: true }}
      inputProps={{ autoComplete: 'off', spellCheck: false }}
      fullWidth
      margin="none"
    />
  );
  const value = field('value', trans.__('Value'), '', '');
  // A Secret is offered where one may be used, and shown where one was asked for.
  const choice = settings.allowed_secrets.length > 0 || fromSecret;

  return (
    <Stack role="group" aria-label={trans.__('Environment variable %1', at + 1)} spacing={3}>
      <Stack direction="row" spacing={2} alignItems="flex-start">
        {field('name', trans.__('Name'), found.name, 'YEAR')}
        {choice ? (
          <TextField
            select
            id={`${props.idPrefix}-${variable.id}-source`}
            label={trans.__('Comes from')}
            value={variable.source}
            onChange={event => set({ source: event.target.value as IVariable['source'] })}
            fullWidth
            margin="none"
          >
            <MenuItem value="value">{trans.__('This form')}</MenuItem>
            <MenuItem value="secret">{trans.__('A Secret')}</MenuItem>
          </TextField>
        ) : (
          value
        )}
        <IconButton
          onClick={props.remove}
          aria-label={trans.__('Remove variable %1', variable.name || at + 1)}
          title={trans.__('Remove variable %1', variable.name || at + 1)}
          sx={{ alignSelf: 'flex-start', paddingY: '8px' }}
        >
          <SvgIcon fontSize="small">
            <path d="M5 6.5 6.5 5l5.5 5.5L17.5 5 19 6.5 13.5 12l5.5 5.5-1.5 1.5-5.5-5.5L6.5 19 5 17.5l5.5-5.5z" />
          </SvgIcon>
        </IconButton>
      </Stack>
      {choice && !fromSecret && value}
      {fromSecret && (
        <Stack direction="row" spacing={2} alignItems="flex-start">
          {field('secret', trans.__('Secret'), found.secret, settings.allowed_secrets[0] ?? '')}
          {field('key', trans.__('Key'), found.key, 'token')}
        </Stack>
      )}
    </Stack>
  );
}
