/**
 * What the cluster has, for remarks and choices in the form. None of it bounds what a
 * job may ask for: clusters grow.
 */
import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';

import type { ICluster } from './validation.js';

const NOTHING: ICluster = { largest_node: null, gpu_kinds: [], remark: null };

/** The answer of handlers.py. Where there is none, the remark says so. */
export async function askCluster(trans: TranslationBundle): Promise<ICluster> {
  const settings = ServerConnection.makeSettings();
  const url = URLExt.join(settings.baseUrl, 'jupyter_scheduler_k8s', 'form');
  try {
    const response = await ServerConnection.makeRequest(url, {}, settings);
    // A server that was not started again since this form was installed.
    if (response.status === 404) {
      return NOTHING;
    }
    if (!response.ok) {
      throw new Error(`${response.status} ${response.statusText}`);
    }
    return (await response.json()) as ICluster;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ...NOTHING, remark: trans.__('What the cluster has is not known: %1', reason) };
  }
}
