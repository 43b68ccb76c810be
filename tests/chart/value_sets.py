"""Values as users have them, from the least to all at once: each must be accepted by helm, and by the API server."""

from __future__ import annotations

from typing import Any, Final

MONITORING: Final = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]

SETS: Final[dict[str, dict[str, Any]]] = {
    "nothing but the image": {},
    "a volume that is there already": {"state": {"volume": {"existingClaim": "mine"}}},
    "state in S3 with keys": {
        "state": {"url": "s3://bucket/prefix"},
        "s3": {"endpoint": "https://s3.example.com", "region": "eu-central-1", "existingSecret": "maprun-s3"},
    },
    "state in S3 with a role": {
        "state": {"url": "s3://bucket"},
        "s3": {"shareCredentials": True},
        "serviceAccount": {"annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::111122223333:role/maprun"}},
    },
    "two operators on a volume of all nodes": {
        "replicas": 2,
        "state": {"volume": {"existingClaim": "mine", "accessModes": ["ReadWriteMany"]}},
        "podDisruptionBudget": {"enabled": True},
    },
    "two namespaces, and nothing of the cluster's": {
        "namespaces": ["team-a", "team-b"],
        "crds": {"enabled": False},
        "rbac": {"aggregate": False},
        "admissionPolicy": {"enabled": False},
    },
    "a PodMonitor": {
        "metrics": {
            "service": {"enabled": False},
            "podMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
        }
    },
    "OpenShift, which gives users of its own": {
        "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
    },
    "all at once": {
        "commonLabels": {"team": "data"},
        "image": {"tag": "0.1.0", "digest": "sha256:" + "0" * 64, "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "namespaces": ["team-a", "team-b"],
        "childrenPerRun": 10_000,
        "childrenPerNamespace": 20_000,
        "childrenInAll": 50_000,
        "state": {
            "keepWhenRunIsDeleted": True,
            "volume": {"size": "100Gi", "storageClass": "fast", "accessModes": ["ReadWriteOncePod"]},
        },
        "s3": {
            "endpoint": "http://s3.example.com:9000",
            "existingSecret": "maprun-s3",
            "shareCredentials": True,
            "allowedEndpoints": ["http://s3.example.com:9000", "https://other.example.com"],
        },
        "metrics": {
            "port": 9090,
            "service": {"annotations": {"prometheus.io/scrape": "true"}},
            "serviceMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}},
            "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
            "dashboard": {"enabled": True, "annotations": {"grafana_folder": "Batch"}},
        },
        "networkPolicy": {
            "enabled": True,
            "ingressFrom": MONITORING,
            "egress": {"enabled": True, "extra": [{"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}]},
        },
        "podDisruptionBudget": {"enabled": True},
        "priorityClassName": "system-cluster-critical",
        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "2Gi"}},
        "podLabels": {"tier": "batch"},
        "podAnnotations": {"note": "mine"},
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"}],
        "extraEnvFrom": [{"secretRef": {"name": "more", "optional": True}}],
        "extraVolumes": [{"name": "certificates", "configMap": {"name": "certificates"}}],
        "extraVolumeMounts": [{"name": "certificates", "mountPath": "/certificates"}],
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "batch", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "Exists"}]}]
                }
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "terminationGracePeriodSeconds": 60,
    },
}
