import type { TranslationBundle } from '@jupyterlab/translation';

/** The name of each option as a person reads it, in the order of the form. */
export function labels(trans: TranslationBundle): { [name: string]: string } {
  return {
    k8s_cpu: trans.__('CPUs'),
    k8s_memory: trans.__('Memory'),
    k8s_gpu: trans.__('GPUs'),
    k8s_gpu_kind: trans.__('Kind of GPU'),
    k8s_image: trans.__('Container image'),
    k8s_timeout_seconds: trans.__('Time limit (seconds)'),
    k8s_max_retries: trans.__('Retries'),
    k8s_env: trans.__('Environment variables'),
    k8s_concurrency_policy: trans.__('When the previous run has not ended'),
    k8s_starting_deadline_seconds: trans.__('Latest start (seconds)')
  };
}

/** What each overlap policy does, by Kubernetes' name for it. */
export function policies(trans: TranslationBundle): { [policy: string]: string } {
  return {
    Forbid: trans.__('Skip the new run'),
    Allow: trans.__('Run both'),
    Replace: trans.__('Stop the previous run')
  };
}
