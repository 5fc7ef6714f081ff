// What the form says at a field, and what it doesn't.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { newVariable } from '../../lib/parameters.js';
import { matches, problem, quantity, remark, variableProblems } from '../../lib/validation.js';

const trans = {
  __: (text, ...values) =>
    values.reduce((said, value, at) => said.replace(`%${at + 1}`, value), text)
};
const settings = {
  parameters: [],
  image: 'ours:1',
  allowed_images: ['quay.io/jupyter/*'],
  allowed_secrets: ['api-*', 'db'],
  max_timeout_seconds: 7200,
  max_retries: 5,
  reserved_variables: ['S3_BUCKET']
};
const said = (name, text, changes = {}) => problem(name, text, { ...settings, ...changes }, trans);

test('quantities are read as Kubernetes reads them', () => {
  const meant = {
    2: 2,
    '500m': 0.5,
    '.5': 0.5,
    '2.': 2,
    '+1': 1,
    '4Gi': 4 * 1024 ** 3,
    '4G': 4e9,
    '1e3': 1000,
    '1E3': 1000,
    '1E': 1e18,
    '100u': 1e-4
  };
  for (const [text, number] of Object.entries(meant)) {
    assert.ok(Math.abs(quantity(text) - number) <= number * 1e-12, text);
  }
  for (const text of ['', 'x', '4 Gi', '4gi', '4GB', '-1', '1.2.3', '0x10', 'Gi', '1e']) {
    assert.equal(quantity(text), null, text);
  }
});

test('an empty field is no problem', () => {
  for (const name of ['k8s_cpu', 'k8s_memory', 'k8s_gpu', 'k8s_image', 'k8s_timeout_seconds']) {
    assert.equal(said(name, ''), '');
  }
});

test('what Kubernetes could not mean is said with an example', () => {
  assert.match(said('k8s_cpu', 'two'), /2 or 0\.5, or thousandths, such as 500m/);
  assert.match(said('k8s_memory', '4GB'), /512Mi or 4Gi/);
  assert.match(said('k8s_cpu', '0'), /more than 0/);
  assert.match(said('k8s_memory', '0.0'), /more than 0/);
  assert.equal(said('k8s_cpu', '500m'), '');
});

test('GPUs are whole, and none is a number of them', () => {
  assert.equal(said('k8s_gpu', '0'), '');
  assert.equal(said('k8s_gpu', '4'), '');
  for (const text of ['-1', '0.5', 'one']) {
    assert.match(said('k8s_gpu', text), /whole number of GPUs/);
  }
});

test('the bounds of the server are those of the form', () => {
  assert.equal(said('k8s_timeout_seconds', '7200'), '');
  assert.match(said('k8s_timeout_seconds', '7201'), /from 1 to 7200/);
  assert.match(said('k8s_timeout_seconds', '0'), /from 1 to 7200/);
  assert.match(
    said('k8s_timeout_seconds', '2147483648', { max_timeout_seconds: null }),
    /from 1 to 2147483647/
  );
  assert.equal(said('k8s_max_retries', '0'), '');
  assert.match(said('k8s_max_retries', '6'), /from 0 to 5/);
  assert.match(said('k8s_max_retries', '1.5'), /whole number/);
  assert.equal(said('k8s_starting_deadline_seconds', '10'), '');
  assert.match(said('k8s_starting_deadline_seconds', '9'), /from 10 to 2147483647/);
});

test('images are those that the administrator allows', () => {
  assert.equal(said('k8s_image', 'ours:1'), '');
  assert.equal(said('k8s_image', 'quay.io/jupyter/scipy-notebook:1'), '');
  assert.match(said('k8s_image', 'quay.io/other'), /ours:1, quay\.io\/jupyter\/\*/);
});

test('patterns know * and ?, and leave [ to the server', () => {
  assert.ok(matches('a.b', ['a.b']));
  assert.ok(!matches('axb', ['a.b']));
  assert.ok(matches('api-1', ['api-?']));
  assert.ok(!matches('api-12', ['api-?']));
  assert.ok(matches('anything/at:all', ['*']));
  assert.ok(matches('b', ['[ab]']));
  assert.ok(!matches('a', []));
});

test('memory without a unit gets a remark, and is not refused', () => {
  assert.equal(said('k8s_memory', '4'), '');
  assert.match(remark('k8s_memory', '4', null, trans), /less than 1 MiB/);
  assert.equal(remark('k8s_memory', '4Gi', null, trans), '');
  assert.equal(remark('k8s_cpu', '4', null, trans), '');
});

test('more than the largest node has is remarked on, and is not refused', () => {
  const cluster = { largest_node: { cpu: '16', memory: '64Gi', gpu: 4 } };
  const remarked = (name, text, changes = {}) => {
    assert.equal(said(name, text), '');
    return remark(name, text, { largest_node: { ...cluster.largest_node, ...changes } }, trans);
  };
  assert.match(remarked('k8s_cpu', '64'), /^The largest node has 16 CPUs; the job will wait/);
  assert.match(remarked('k8s_memory', '65Gi'), /^The largest node has 64Gi;/);
  assert.match(remarked('k8s_gpu', '5'), /^No node has more than 4;/);
  assert.match(remarked('k8s_gpu', '1', { gpu: 0 }), /^No node has a GPU;/);
  for (const [name, text] of [
    ['k8s_cpu', '16'],
    ['k8s_cpu', '16000m'],
    ['k8s_memory', '64Gi'],
    ['k8s_memory', '68.7G'],
    ['k8s_gpu', '4'],
    ['k8s_gpu', '0'],
    ['k8s_max_retries', '5']
  ]) {
    assert.equal(remarked(name, text), '', `${name} ${text}`);
  }
  assert.equal(remark('k8s_cpu', '64', { largest_node: null }, trans), '');
  assert.equal(remark('k8s_cpu', 'x', cluster, trans), '');
});

test('a row says what of it is wrong', () => {
  const problems = variableProblems(
    [
      newVariable(),
      newVariable({ name: 'YEAR', value: '2026' }),
      newVariable({ name: 'YEAR' }),
      newVariable({ name: '1ST' }),
      newVariable({ value: 'no name' }),
      newVariable({ name: 'S3_BUCKET' }),
      newVariable({ name: 'A', source: 'secret', secret: 'api-1', key: 'token' }),
      newVariable({ name: 'B', source: 'secret', secret: 'other', key: 'to/ken' }),
      newVariable({ name: 'C', source: 'secret' })
    ],
    settings,
    trans
  );
  const none = { name: '', secret: '', key: '' };
  assert.deepEqual(problems[0], none);
  assert.deepEqual(problems[1], none);
  assert.match(problems[2].name, /there already/);
  assert.match(problems[3].name, /no digit first/);
  assert.match(problems[4].name, /no digit first/);
  assert.match(problems[5].name, /belongs to the run/);
  assert.deepEqual(problems[6], none);
  assert.match(problems[7].secret, /allowed: api-\*, db/);
  assert.match(problems[7].key, /Name the key/);
  assert.match(problems[8].secret, /Name the Secret/);
});
