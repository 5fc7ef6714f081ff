import { Alert, Button, FormHelperText, Stack } from '@mui/material';
import { URLExt } from '@jupyterlab/coreutils';
import type { Scheduler } from '@jupyterlab/scheduler';
import { ServerConnection } from '@jupyterlab/services';
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

const ID = 'jp-scheduler-k8s-log';

const TEXT: React.CSSProperties = {
  background: 'var(--jp-layout-color2)',
  border: '1px solid var(--jp-border-color2)',
  color: 'var(--jp-ui-font-color1)',
  fontFamily: 'var(--jp-code-font-family)',
  fontSize: 'var(--jp-code-font-size)',
  lineHeight: 'var(--jp-code-line-height)',
  margin: 0,
  maxHeight: '24em',
  overflow: 'auto',
  padding: '8px',
  whiteSpace: 'pre-wrap',
  overflowWrap: 'anywhere'
};

const ENDED = ['COMPLETED', 'FAILED', 'STOPPED'];

/** What the server's handlers.py has answered. */
interface IAnswer {
  log?: string;
  message?: string;
}

/** The end of a job's log, once somebody asks for it, as new as the page. */
export function Log(props: { job: Scheduler.IDetailModel; trans: TranslationBundle }): JSX.Element {
  const { job, trans } = props;
  const [isOpen, setOpen] = React.useState(false);
  const [answer, setAnswer] = React.useState<IAnswer | null>(null);
  const text = React.useRef<HTMLPreElement>(null);

  // Upstream makes another model when the page is reloaded.
  React.useEffect(() => {
    let isWanted = isOpen;
    if (isOpen) {
      void askLog(job.jobId ?? '', trans).then(found => isWanted && setAnswer(found));
    }
    return () => {
      isWanted = false;
    };
  }, [isOpen, job]);

  React.useEffect(() => {
    text.current?.scrollTo(0, text.current.scrollHeight);
  }, [answer]);

  return (
    <Stack spacing={2} alignItems="flex-start">
      <Button
        variant="outlined"
        sx={{ textTransform: 'none' }}
        aria-expanded={isOpen}
        aria-controls={ID}
        onClick={() => setOpen(!isOpen)}
      >
        {trans.__('End of the log')}
      </Button>
      <div id={ID} hidden={!isOpen} style={{ alignSelf: 'stretch' }}>
        {isOpen && answer?.message && <Alert severity="error">{answer.message}</Alert>}
        {isOpen && answer?.log && (
          // Focusable, so that the keyboard can scroll it.
          <pre ref={text} style={TEXT} tabIndex={0} role="region" aria-label={trans.__('Log')}>
            {answer.log}
          </pre>
        )}
        {isOpen && answer?.log === '' && (
          <FormHelperText role="status">
            {ENDED.includes(job.status ?? '')
              ? trans.__('This job has left no log.')
              : trans.__('There is no log yet.')}
          </FormHelperText>
        )}
      </div>
    </Stack>
  );
}

async function askLog(jobId: string, trans: TranslationBundle): Promise<IAnswer> {
  const settings = ServerConnection.makeSettings();
  const url = URLExt.join(settings.baseUrl, 'jupyter_scheduler_k8s', 'jobs', jobId, 'log');
  try {
    const response = await ServerConnection.makeRequest(url, {}, settings);
    return (await response.json()) as IAnswer;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { message: trans.__('The log could not be read: %1', reason) };
  }
}
