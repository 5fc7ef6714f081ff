// What the form sends, and what it makes of what was sent.
import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  newVariable,
  textOf,
  textOfVariables,
  variablesOf,
  withoutSchedule,
  withText
} from '../../lib/parameters.js';

test('values are sent as text without spaces around it, and others stay as they are', () => {
  assert.deepEqual(withText({ other: 1.5 }, 'k8s_cpu', ' 2 '), { other: 1.5, k8s_cpu: '2' });
});

test('an empty field is absent', () => {
  assert.deepEqual(withText({ other: 1, k8s_cpu: 2 }, 'k8s_cpu', ' '), { other: 1 });
  assert.equal(withText({ k8s_cpu: 2 }, 'k8s_cpu', ''), undefined);
  assert.equal(withText(undefined, 'k8s_cpu', ''), undefined);
});

test('what was there before is not changed in place', () => {
  const before = { k8s_cpu: '1' };
  withText(before, 'k8s_cpu', '2');
  assert.deepEqual(before, { k8s_cpu: '1' });
});

test('numbers that upstream made of texts are shown as texts', () => {
  assert.equal(textOf({ k8s_cpu: 2 }, 'k8s_cpu'), '2');
  assert.equal(textOf({}, 'k8s_cpu'), '');
  assert.equal(textOf(undefined, 'k8s_cpu'), '');
});

test('a job that runs once keeps no options of schedules', () => {
  const given = { k8s_cpu: '1', k8s_concurrency_policy: 'Allow' };
  assert.deepEqual(withoutSchedule(given), { k8s_cpu: '1' });
  assert.equal(withoutSchedule({ k8s_starting_deadline_seconds: 60 }), undefined);
  assert.equal(withoutSchedule(undefined), undefined);
});

test('variables go to the JSON of k8s_env and back', () => {
  const text = textOfVariables([
    newVariable({ name: ' YEAR ', value: ' 2026 ' }),
    newVariable(),
    newVariable({ name: 'EMPTY' }),
    newVariable({ name: 'TOKEN', source: 'secret', secret: 'api ', key: ' token' })
  ]);
  assert.equal(
    text,
    '{"YEAR":" 2026 ","EMPTY":"","TOKEN":{"secretKeyRef":{"name":"api","key":"token"}}}'
  );
  const rows = variablesOf(text).map(({ id, ...row }) => row);
  assert.deepEqual(rows, [
    { name: 'YEAR', source: 'value', value: ' 2026 ', secret: '', key: '' },
    { name: 'EMPTY', source: 'value', value: '', secret: '', key: '' },
    { name: 'TOKEN', source: 'secret', value: '', secret: 'api', key: 'token' }
  ]);
  assert.equal(textOfVariables([newVariable()]), '');
});

test('what is no object of variables gives no rows', () => {
  for (const text of ['', 'x', '[]', 'null', '1', '{}']) {
    assert.deepEqual(variablesOf(text), [], text);
  }
  assert.equal(variablesOf('{"YEAR": 2026}')[0].value, '2026');
});
