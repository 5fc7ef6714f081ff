/**
 * A job's options in its `runtime_environment_parameters`, all as text: upstream's
 * model cuts numbers to whole ones. An option that is empty is absent.
 */

export type Parameters = { [name: string]: string | number | boolean };

/** An environment variable as a row of the form: a text, or the key of a Secret. */
export interface IVariable {
  /** Tells rows apart while they are edited; never sent. */
  id: number;
  name: string;
  source: 'value' | 'secret';
  value: string;
  secret: string;
  key: string;
}

/** The options that only a job definition has. */
export const OF_SCHEDULES = ['k8s_concurrency_policy', 'k8s_starting_deadline_seconds'];

export function textOf(parameters: Parameters | undefined, name: string): string {
  return String(parameters?.[name] ?? '');
}

/**
 * The same parameters with another text for one, without spaces around it; undefined
 * where none is left.
 */
export function withText(
  parameters: Parameters | undefined,
  name: string,
  text: string
): Parameters | undefined {
  const changed = { ...parameters, [name]: text.trim() };
  if (!changed[name]) {
    delete changed[name];
  }
  return Object.keys(changed).length > 0 ? changed : undefined;
}

/** The parameters that a job which runs once may have. */
export function withoutSchedule(parameters: Parameters | undefined): Parameters | undefined {
  return OF_SCHEDULES.reduce<Parameters | undefined>(
    (left, name) => (left && name in left ? withText(left, name, '') : left),
    parameters
  );
}

let rows = 0;

export function newVariable(given: Partial<IVariable> = {}): IVariable {
  rows += 1;
  return { name: '', source: 'value', value: '', secret: '', key: '', ...given, id: rows };
}

/** A row in which nothing is written is no variable yet. */
export function isBlank(variable: IVariable): boolean {
  const { name, value, secret, key } = variable;
  return variable.source === 'value' ? !name && !value : !name && !secret && !key;
}

/** The rows of a `k8s_env`. What the server would refuse gives none. */
export function variablesOf(text: string): IVariable[] {
  let found: unknown;
  try {
    found = JSON.parse(text || '{}');
  } catch {
    return [];
  }
  if (typeof found !== 'object' || found === null || Array.isArray(found)) {
    return [];
  }
  return Object.entries(found).map(([name, value]) => {
    const reference = (value as { secretKeyRef?: { name?: string; key?: string } } | null)
      ?.secretKeyRef;
    return reference
      ? newVariable({
          name,
          source: 'secret',
          secret: reference.name ?? '',
          key: reference.key ?? ''
        })
      : newVariable({ name, value: String(value) });
  });
}

/** The `k8s_env` of rows; empty where they hold no variable. */
export function textOfVariables(variables: IVariable[]): string {
  const named = variables.filter(variable => !isBlank(variable));
  if (named.length === 0) {
    return '';
  }
  return JSON.stringify(
    Object.fromEntries(
      named.map(({ name, source, value, secret, key }) => [
        name.trim(),
        source === 'value' ? value : { secretKeyRef: { name: secret.trim(), key: key.trim() } }
      ])
    )
  );
}
