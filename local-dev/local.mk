# Targets for the local environment; included by the Makefile at the root,
# which sets UV to the path of uv and knows how to put it there.
# Standard library only: no project environment is needed before the cluster is up.
LOCAL_CLUSTER = PYTHONPATH=local-dev UV="$(UV)" $(UV) run --no-project --quiet --python '>=3.11' python -m local_cluster

.PHONY: cluster cluster-status cluster-down delete-records image-build image-load test-images

cluster: $(UV) ## bring up Kubernetes, an S3 server and the notebook image (safe to repeat)
	@$(LOCAL_CLUSTER) up

cluster-status: $(UV) ## say what runs
	@$(LOCAL_CLUSTER) status

cluster-down: $(UV) ## remove the local cluster with its records and S3 data
	@$(LOCAL_CLUSTER) down

delete-records: $(UV) ## delete all jobs and their files, and keep the cluster
	@$(LOCAL_CLUSTER) delete-records

image-build: $(UV) ## build the notebook image
	@$(LOCAL_CLUSTER) image-build

image-load: $(UV) ## build the notebook image and load it into the local cluster
	@$(LOCAL_CLUSTER) image-load

test-images: $(UV) ## build the images that the tests run notebooks in, and load them
	@$(LOCAL_CLUSTER) test-images
