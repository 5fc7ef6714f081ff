/**
 * What the server allows jobs to ask for, as forms.py writes it into the page. The
 * names are those of the settings in K8sConfig.
 */
export interface ISettings {
  /** The parameters that jobs may set, and those of schedules where there are such. */
  parameters: string[];
  /** The image of jobs that name none. */
  image: string;
  /** Patterns with * and ?. */
  allowed_images: string[];
  /** Patterns with * and ?. */
  allowed_secrets: string[];
  max_timeout_seconds: number | null;
  max_retries: number;
  /** Names that a job's environment variables can't have. */
  reserved_variables: string[];
  /** Whether the server knows where the log of a job is. */
  has_logs: boolean;
}

/** The page's option that holds the settings. */
export const OPTION = 'jupyterSchedulerK8s';

/**
 * @param text what the page has under `OPTION`; empty where the scheduler isn't ours.
 */
export function readSettings(text: string): ISettings | null {
  return text ? (JSON.parse(text) as ISettings) : null;
}
