"""What a pod makes of a notebook: outputs, failures, files."""

import json

from cluster.pods import Pods, exit_codes, verdict
from cluster.support import notebook, text_outputs


def test_outputs_of_a_whole_run(pods: Pods) -> None:
    job = pods.start(
        {
            "sub folder/n #1.ipynb": notebook("factor = 1", "print(factor * int(open('in').read()))"),
            "sub folder/in": "21",
        },
        notebook="sub folder/n #1.ipynb",
        output_formats=["ipynb", "html", "script"],
        parameters={"factor": "2"},
    )

    pod = job.ended()

    assert exit_codes(pod) == {"files": 0, "notebook": 0}
    assert verdict(job.finished()) == "Complete"
    assert job.keys() == ["output.html", "output.ipynb", "output.script", "result.json", "started"]
