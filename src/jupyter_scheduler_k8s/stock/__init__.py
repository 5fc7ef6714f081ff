"""What jupyter-scheduler's own scheduler needs to run its jobs on Kubernetes.

There the record is a row of jupyter-scheduler's database, its files are in a
local folder, and a process of this machine stands for each run. Each of them
may vanish at any time; the pages here bring them together with the Job again:

- `ledger`: which jobs of the database are ours, and how far they have got;
- `claim`: who looks after a run;
- `run`: one run, from its local files to S3, through its Job, and back;
- `guard`, `guarding`, `stopping`: end the Job when its process is killed;
- `caretaker`, `sweep`: what a server does for the runs that nobody looks after.
"""
