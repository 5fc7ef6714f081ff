"""The budgets of this backend, measured beside the stock scheduler, bare Jobs and other tools.

    table     pure: what was measured against which budget, as text
    repeated  medians of interleaved repetitions
    servers   JupyterLab servers with this backend and with the stock scheduler
    jobs      Jobs as the API shows them, in any number
    posting, memory, pages, starting, running, freshness, uploads   the measurements
    page_server   a process that serves a list of Jobs

Nothing here decides: a budget that is missed is printed as missed.
"""
