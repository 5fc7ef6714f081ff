/**
 * What this extension uses of jupyter-scheduler's front end. Its npm package holds
 * no compiled code and no types; the running code is that of the installed extension.
 */
declare module '@jupyterlab/scheduler' {
  import type { IPlugin } from '@lumino/application';
  import type { Token } from '@lumino/coreutils';
  import type * as React from 'react';

  export enum JobsView {
    CreateForm = 1,
    JobDetail = 5,
    JobDefinitionDetail = 6
  }

  export type RuntimeParameters = { [name: string]: string | number | boolean };

  export namespace Scheduler {
    type ErrorsType = { [field: string]: string };

    interface ISharedProps {
      errors: ErrorsType;
      handleErrorsChange: (errors: ErrorsType) => void;
    }

    interface ICreateModel {
      createType: 'Job' | 'JobDefinition';
      runtimeEnvironmentParameters?: RuntimeParameters;
    }

    interface ICreateProps extends ISharedProps {
      jobsView: JobsView.CreateForm;
      model: ICreateModel;
      handleModelChange: (model: ICreateModel) => void;
    }

    interface IDetailModel {
      /** Of a job only. */
      jobId?: string;
      /** Of a job only. */
      status?: string;
      runtimeEnvironmentParameters?: RuntimeParameters;
    }

    interface IDetailProps extends ISharedProps {
      jobsView: JobsView.JobDetail | JobsView.JobDefinitionDetail;
      model: IDetailModel;
      handleModelChange: (model: IDetailModel) => void;
    }

    type IAdvancedOptionsProps = ICreateProps | IDetailProps;

    type IAdvancedOptions = React.FC<IAdvancedOptionsProps>;

    const IAdvancedOptions: Token<IAdvancedOptions>;
  }

  const plugins: IPlugin<unknown, unknown>[];
  export default plugins;
}
