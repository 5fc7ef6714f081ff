"""How each Kubernetes component of our own cluster is configured. Pure: files and command lines."""

import json
from dataclasses import dataclass
from pathlib import Path

from .certificates import CLUSTER, ETCD
from .layout import CONTEXT, NAME, Layout
from .processes import Daemon
from .slots import Slot

NODE = NAME
PAUSE_IMAGE = "localhost/pause:1"
API_PORT = 6443
ETCD_PORT = 2379
KUBELET_PORT = 10250


@dataclass(frozen=True, slots=True)
class Node:
    """What the configuration of the components is made from.

    ``snapshotter`` is containerd's; ``nameservers`` are those that pods may ask, perhaps none.
    """

    layout: Layout
    slot: Slot
    kubernetes: Path
    snapshotter: str
    nameservers: tuple[str, ...]

    @property
    def api(self) -> str:
        return f"https://{self.slot.gateway}:{API_PORT}"

    @property
    def containerd_socket(self) -> Path:
        return self.slot.run / "containerd.sock"

    @property
    def containerd_root(self) -> Path:
        return self.layout.state / "containerd"

    @property
    def kubelet_root(self) -> Path:
        """Where the kubelet sees its folder: sockets in it need a short path."""
        return self.slot.run / "kubelet"

    @property
    def config(self) -> Path:
        return self.layout.state / "config"

    def certificate(self, name: str) -> Path:
        return self.layout.certificates / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self.layout.certificates / f"{name}.key"


def kubeconfig(node: Node, certificate: str) -> str:
    """A kubeconfig (JSON, which is YAML) that logs in with one of our certificates."""
    return kubeconfig_text(
        node.api,
        node.certificate(CLUSTER),
        user={
            "client-certificate": str(node.certificate(certificate)),
            "client-key": str(node.key(certificate)),
        },
    )


def kubeconfig_text(api: str, authority: Path, *, user: dict[str, str]) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": CONTEXT,
                    "cluster": {"server": api, "certificate-authority": str(authority)},
                }
            ],
            "users": [{"name": CONTEXT, "user": user}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
            "current-context": CONTEXT,
        },
        indent=2,
    )


def containerd_configuration(node: Node) -> str:
    """containerd's settings, with folders and sockets of our own beside the machine's."""
    slot = node.slot
    return f"""version = 2
root = {json.dumps(str(node.containerd_root))}
state = {json.dumps(str(slot.run / "containerd"))}

[grpc]
  address = {json.dumps(str(node.containerd_socket))}

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {json.dumps(PAUSE_IMAGE)}
  # Machines that lack CAP_SYS_RESOURCE can't lower a score: every sandbox would fail.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"

  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = {json.dumps(node.snapshotter)}

    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"

      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = {json.dumps(str(slot.run / "runc"))}

  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = {json.dumps(str(node.config / "cni"))}

[plugins."io.containerd.internal.v1.opt"]
  path = {json.dumps(str(node.layout.state / "containerd-opt"))}
"""


def kubelet_configuration(node: Node) -> str:
    certificates = node.layout.certificates
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": node.slot.gateway,
            "port": KUBELET_PORT,
            "healthzBindAddress": node.slot.gateway,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(certificates / f"{CLUSTER}.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificates / "kubelet.crt"),
            "tlsPrivateKeyFile": str(certificates / "kubelet.key"),
            "containerRuntimeEndpoint": f"unix://{node.containerd_socket}",
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{node.slot.label}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "podLogsDir": str(node.layout.state / "pod-logs"),
            "clusterDomain": "cluster.local",
            # There is no DNS service. Pods ask whom the machine asks, without a warning event each.
            "clusterDNS": list(node.nameservers),
            "maxPods": 220,
            "podsPerCore": 0,
            "oomScoreAdj": 0,
            # Images can't be pulled again, so none is ever removed; and a disk that is nearly full
            # is a developer's usual disk.
            "imageGCHighThresholdPercent": 100,
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {
                "memory.available": "100Mi",
                "nodefs.available": "1%",
                "nodefs.inodesFree": "1%",
                "imagefs.available": "1%",
                "imagefs.inodesFree": "1%",
            },
        },
        indent=2,
    )


def daemons(node: Node) -> list[Daemon]:
    """Every program of the cluster, in the order in which they start."""
    address = node.slot.gateway
    certificates = node.layout.certificates
    config = node.config
    etcd = f"https://{address}:{ETCD_PORT}"
    peer = f"https://{address}:{ETCD_PORT + 1}"
    kubernetes = node.kubernetes
    controller = config / "controller-manager.kubeconfig"
    scheduler = config / "scheduler.kubeconfig"
    kubelet = config / "kubelet.kubeconfig"
    # Any certificate's change means that all were made anew.
    trust = node.certificate(CLUSTER)
    return [
        Daemon(
            "etcd",
            [
                kubernetes,
                "etcd",
                f"--name={NODE}",
                f"--data-dir={node.layout.state / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster={NODE}={peer}",
                f"--cert-file={node.certificate('etcd')}",
                f"--key-file={node.key('etcd')}",
                f"--trusted-ca-file={node.certificate(ETCD)}",
                "--client-cert-auth",
                f"--peer-cert-file={node.certificate('etcd')}",
                f"--peer-key-file={node.key('etcd')}",
                f"--peer-trusted-ca-file={node.certificate(ETCD)}",
                "--peer-client-cert-auth",
                "--auto-compaction-mode=periodic",
                "--auto-compaction-retention=10m",
                "--log-level=warn",
            ],
            {},
            (trust,),
        ),
        Daemon(
            "kube-apiserver",
            [
                kubernetes,
                "kube-apiserver",
                f"--bind-address={address}",
                f"--advertise-address={address}",
                f"--secure-port={API_PORT}",
                f"--etcd-servers={etcd}",
                f"--etcd-cafile={node.certificate(ETCD)}",
                f"--etcd-certfile={node.certificate('apiserver-etcd')}",
                f"--etcd-keyfile={node.key('apiserver-etcd')}",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                f"--client-ca-file={node.certificate(CLUSTER)}",
                f"--tls-cert-file={node.certificate('apiserver')}",
                f"--tls-private-key-file={node.key('apiserver')}",
                f"--kubelet-client-certificate={node.certificate('apiserver-kubelet')}",
                f"--kubelet-client-key={node.key('apiserver-kubelet')}",
                f"--kubelet-certificate-authority={node.certificate(CLUSTER)}",
                "--kubelet-preferred-address-types=InternalIP",
                f"--service-cluster-ip-range={node.slot.services}",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={certificates / 'service-accounts.pub'}",
                f"--service-account-signing-key-file={certificates / 'service-accounts.key'}",
                "--profiling=false",
            ],
            {},
            (trust,),
        ),
        Daemon(
            "kube-controller-manager",
            [
                kubernetes,
                "kube-controller-manager",
                f"--kubeconfig={controller}",
                "--secure-port=0",
                "--leader-elect=false",
                "--use-service-account-credentials",
                f"--root-ca-file={node.certificate(CLUSTER)}",
                f"--service-account-private-key-file={certificates / 'service-accounts.key'}",
                "--profiling=false",
            ],
            {},
            (controller, trust),
        ),
        Daemon(
            "kube-scheduler",
            [
                kubernetes,
                "kube-scheduler",
                f"--kubeconfig={scheduler}",
                "--secure-port=0",
                "--leader-elect=false",
                "--profiling=false",
            ],
            {},
            (scheduler, trust),
        ),
        Daemon(
            "containerd",
            ["containerd", "--config", config / "containerd.toml"],
            {},
            (config / "containerd.toml",),
        ),
        Daemon(
            "kubelet",
            [
                kubernetes,
                "kubelet",
                f"--config={config / 'kubelet.json'}",
                f"--kubeconfig={kubelet}",
                f"--root-dir={node.kubelet_root}",
                f"--hostname-override={NODE}",
                f"--node-ip={address}",
            ],
            {},
            (config / "kubelet.json", kubelet, trust),
        ),
    ]
