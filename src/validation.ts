/**
 * What the server would refuse of a form, said at the field before it is sent; the
 * server has the last word. What is allowed but unlikely to be meant gets a remark.
 */
import type { TranslationBundle } from '@jupyterlab/translation';

import { isBlank, type IVariable } from './parameters.js';
import type { ISettings } from './settings.js';

/** Kubernetes counts seconds in 32 bits. */
const LONGEST_SECONDS = 2 ** 31 - 1;
/** Kubernetes looks for due runs every 10 seconds. */
const SHORTEST_DEADLINE_SECONDS = 10;

// https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
const QUANTITY = /^\+?(\d+\.?\d*|\.\d+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?$/;
const POWERS: { [unit: string]: number } = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18
};
const BINARY = ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];

const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const SECRET_NAME = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/;
const SECRET_KEY = /^[-._a-zA-Z0-9]{1,253}$/;

/** What handlers.py answers. */
export interface ICluster {
  /** The most that any node has, as quantities; null where nothing is known. */
  largest_node: { cpu: string; memory: string; gpu: number } | null;
  /** Values of k8s_gpu_kind; none where a number of GPUs says enough. */
  gpu_kinds: { value: string; label: string }[];
  /** Why nothing is known. */
  remark: string | null;
}

/** Problems of the fields of one row; empty texts where there is none. */
export type VariableProblems = { name: string; secret: string; key: string };

/** The number that a Kubernetes quantity means; null where it is none. */
export function quantity(text: string): number | null {
  const match = QUANTITY.exec(text);
  if (match === null) {
    return null;
  }
  const [, amount, unit = ''] = match;
  if (BINARY.includes(unit)) {
    return Number(amount) * 1024 ** (BINARY.indexOf(unit) + 1);
  }
  return /^[eE]./.test(unit) ? Number(amount + unit) : Number(amount) * (POWERS[unit] ?? 1);
}

/**
 * Whether a name matches one of the patterns with * and ?. One with [ is the server's
 * to read.
 */
export function matches(text: string, patterns: string[]): boolean {
  return patterns.some(pattern => {
    const expression = pattern
      .replace(/[.+^${}()|\]\\]/g, '\\$&')
      .replace(/\*/g, '[^]*')
      .replace(/\?/g, '[^]');
    return pattern.includes('[') || new RegExp(`^${expression}$`).test(text);
  });
}

/** What is wrong with the text of an option; empty where nothing is. */
export function problem(
  name: string,
  text: string,
  settings: ISettings,
  trans: TranslationBundle
): string {
  if (!text) {
    return '';
  }
  switch (name) {
    case 'k8s_cpu':
      return quantityProblem(
        text,
        trans.__('Write a number of CPUs, such as 2 or 0.5, or thousandths, such as 500m.'),
        trans
      );
    case 'k8s_memory':
      return quantityProblem(
        text,
        trans.__('Write an amount of memory with its unit, such as 512Mi or 4Gi.'),
        trans
      );
    case 'k8s_gpu':
      return /^\d+$/.test(text) ? '' : trans.__('Write a whole number of GPUs, 0 or more.');
    case 'k8s_image':
      return matches(text, [settings.image, ...settings.allowed_images])
        ? ''
        : trans.__('Jobs may not use this image; allowed are %1.', allowedImages(settings));
    case 'k8s_timeout_seconds':
      return wholeProblem(text, 1, settings.max_timeout_seconds ?? LONGEST_SECONDS, trans);
    case 'k8s_max_retries':
      return wholeProblem(text, 0, settings.max_retries, trans);
    case 'k8s_starting_deadline_seconds':
      return wholeProblem(text, SHORTEST_DEADLINE_SECONDS, LONGEST_SECONDS, trans);
    default:
      return '';
  }
}

/**
 * What a person may want to know of an option that is allowed: clusters grow, so more
 * than any node has is no mistake.
 */
export function remark(
  name: string,
  text: string,
  cluster: ICluster | null,
  trans: TranslationBundle
): string {
  const asked = text ? quantity(text) : null;
  if (asked === null) {
    return '';
  }
  if (name === 'k8s_memory' && asked < 1024 ** 2) {
    return trans.__('That is less than 1 MiB: Gi is the unit of gibibytes, as in 4Gi.');
  }
  const node = cluster?.largest_node;
  if (!node) {
    return '';
  }
  const isMore = (most: string | number) => asked > (quantity(String(most)) ?? Infinity);
  if (name === 'k8s_cpu' && isMore(node.cpu)) {
    return trans.__(
      'The largest node has %1 CPUs; the job will wait until there is a larger one.',
      node.cpu
    );
  }
  if (name === 'k8s_memory' && isMore(node.memory)) {
    return trans.__(
      'The largest node has %1; the job will wait until there is a larger one.',
      node.memory
    );
  }
  if (name === 'k8s_gpu' && isMore(node.gpu)) {
    return node.gpu === 0
      ? trans.__('No node has a GPU; the job will wait until there is one.')
      : trans.__('No node has more than %1; the job will wait until there is one.', node.gpu);
  }
  return '';
}

/** The problems of each row, in their order. */
export function variableProblems(
  variables: IVariable[],
  settings: ISettings,
  trans: TranslationBundle
): VariableProblems[] {
  const names = variables.map(variable => variable.name.trim());
  return variables.map((variable, at) => {
    if (isBlank(variable)) {
      return { name: '', secret: '', key: '' };
    }
    const reference = variable.source === 'secret';
    return {
      name: nameProblem(names[at], names.indexOf(names[at]) < at, settings, trans),
      secret: reference ? secretProblem(variable.secret.trim(), settings, trans) : '',
      key:
        reference && !SECRET_KEY.test(variable.key.trim())
          ? trans.__('Name the key in the Secret: letters, digits, -, _ and .')
          : ''
    };
  });
}

function quantityProblem(text: string, hint: string, trans: TranslationBundle): string {
  const amount = quantity(text);
  if (amount === null) {
    return hint;
  }
  return amount > 0 ? '' : trans.__('It must be more than 0.');
}

function wholeProblem(text: string, least: number, most: number, trans: TranslationBundle): string {
  const number = /^\d{1,20}$/.test(text) ? Number(text) : NaN;
  return number >= least && number <= most
    ? ''
    : trans.__('Write a whole number from %1 to %2.', least, most);
}

function allowedImages(settings: ISettings): string {
  return [settings.image, ...settings.allowed_images].join(', ');
}

function nameProblem(
  name: string,
  isThere: boolean,
  settings: ISettings,
  trans: TranslationBundle
): string {
  if (!VARIABLE_NAME.test(name)) {
    return trans.__('Use letters, digits and _, and no digit first.');
  }
  if (settings.reserved_variables.includes(name)) {
    return trans.__('This name belongs to the run itself.');
  }
  return isThere ? trans.__('This name is there already.') : '';
}

function secretProblem(secret: string, settings: ISettings, trans: TranslationBundle): string {
  if (!secret) {
    return trans.__('Name the Secret.');
  }
  return SECRET_NAME.test(secret) && matches(secret, settings.allowed_secrets)
    ? ''
    : trans.__('Jobs may not use this Secret; allowed: %1', settings.allowed_secrets.join(', '));
}
