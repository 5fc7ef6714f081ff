import { FormLabel, Stack } from '@mui/material';
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { labels, policies } from './labels.js';
import { textOf, variablesOf, type IVariable, type Parameters } from './parameters.js';

const LABEL: React.CSSProperties = { fontSize: 'var(--jp-ui-font-size0)' };
const VALUE: React.CSSProperties = {
  fontSize: 'var(--jp-ui-font-size1)',
  margin: 0,
  overflowWrap: 'anywhere'
};

/** What a job or a job definition asks for, to be read. */
export function Details(props: {
  parameters: Parameters | undefined;
  trans: TranslationBundle;
}): JSX.Element {
  const { parameters, trans } = props;
  const given = Object.entries(labels(trans)).filter(([name]) => textOf(parameters, name));
  return (
    <Stack spacing={2}>
      <FormLabel component="legend">{trans.__('Kubernetes')}</FormLabel>
      {given.length === 0 && <em>{trans.__('Nothing set: the defaults of the cluster')}</em>}
      {given.length > 0 && (
        <Stack component="dl" spacing={3} sx={{ margin: 0 }}>
          {given.map(([name, label]) => (
            <div key={name}>
              <dt style={LABEL}>{label}</dt>
              {texts(name, textOf(parameters, name), trans).map(text => (
                <dd key={text} style={VALUE}>
                  {text}
                </dd>
              ))}
            </div>
          ))}
        </Stack>
      )}
    </Stack>
  );
}

function texts(name: string, text: string, trans: TranslationBundle): string[] {
  if (name === 'k8s_env') {
    const variables = variablesOf(text);
    return variables.length > 0 ? variables.map(variable => described(variable, trans)) : [text];
  }
  return [name === 'k8s_concurrency_policy' ? (policies(trans)[text] ?? text) : text];
}

function described(variable: IVariable, trans: TranslationBundle): string {
  const { name, source, value, secret, key } = variable;
  return source === 'value'
    ? `${name} = ${value}`
    : trans.__('%1 = key %2 of the Secret %3', name, key, secret);
}
