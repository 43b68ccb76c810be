{{/*
Values that contradict one another. Each check has a name and is a sentence when it fails, else nothing; all sentences
are told at once. A value that is wrong by itself is the schema's business.
*/}}
{{- define "maprun.checks" -}}
{{- $problems := list -}}
{{- range list
      "imageRepository" "imageRepositoryHasNoTag"
      "stateUrl" "oneState" "operatorsShareTheState"
      "s3Urls" "oneSourceOfCredentials" "credentialsAreUsed" "sharedCredentialsExist"
      "serviceAccountName" "serviceAccountAnnotations"
      "oneMonitor" "serviceOfMonitor" "monitorIsLetIn"
      "drainsGoThrough"
      "noKeysInValues" "ownVariables" "ownVolumes" "ownLabels"
      "oneOperatorOfARun"
-}}
{{- $problems = concat $problems (include (printf "maprun.check.%s" .) $ | splitList "\n") -}}
{{- end -}}
{{- with compact $problems -}}
{{- printf "\n\nThese values do not fit together:\n- %s\n" (join "\n- " .) | fail -}}
{{- end -}}
{{- end }}

{{- define "maprun.check.imageRepository" -}}
{{- if not .Values.image.repository -}}
image.repository: name your image, registry.example.com/you/maprun; `make image` builds it, there is no public one
{{- end -}}
{{- end }}

{{- define "maprun.check.imageRepositoryHasNoTag" -}}
{{- if regexMatch "(:[^/]*|@.*)$" .Values.image.repository -}}
image.repository: {{ .Values.image.repository }} has a tag or a digest in it; put that into image.tag or image.digest
{{- end -}}
{{- end }}

{{- define "maprun.check.stateUrl" -}}
{{- if and .Values.state.url (not (regexMatch "^s3://[A-Za-z0-9._-]+(/[^\\s?#]*)?$" .Values.state.url)) -}}
state.url: {{ .Values.state.url }} is not of the form s3://bucket/prefix; leave it empty to keep the state on a volume
{{- end -}}
{{- end }}

{{- define "maprun.check.oneState" -}}
{{- if and .Values.state.url .Values.state.volume.existingClaim -}}
state.volume.existingClaim: the state is in {{ .Values.state.url }} already; leave out one of the two
{{- end -}}
{{- end }}

{{- define "maprun.check.operatorsShareTheState" -}}
{{- $modes := .Values.state.volume.accessModes | join ", " -}}
{{- if and (gt (include "maprun.replicas" . | int) 1) (not (include "maprun.stateIsShared" .)) -}}
replicas: {{ .Values.replicas }} operators run on different nodes, which cannot all mount a volume with {{ $modes }};
{{- print " keep the state in S3 (state.url), take a volume with ReadWriteMany, or let replicas be 1" -}}
{{- end -}}
{{- end }}

{{/* The URL itself is not told: somebody may have put a password into it. */}}
{{- define "maprun.check.s3Urls" -}}
{{- $form := "must be http://host or https://host, either with :port behind it, and nothing else" -}}
{{- $good := "^(https?://[^/ @?#]+/?)?$" -}}
{{- if not (regexMatch $good .Values.s3.endpoint) }}
s3.endpoint: {{ $form }}
{{- end -}}
{{- range $index, $url := .Values.s3.allowedEndpoints -}}
{{- if not (regexMatch $good $url) }}
s3.allowedEndpoints[{{ $index }}]: {{ $form }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "maprun.check.oneSourceOfCredentials" -}}
{{- if and .Values.s3.existingSecret (hasKey .Values.serviceAccount.annotations "eks.amazonaws.com/role-arn") -}}
s3.existingSecret: its keys would be used and the role of serviceAccount.annotations never; leave out one of the two
{{- end -}}
{{- end }}

{{- define "maprun.check.credentialsAreUsed" -}}
{{- if and .Values.s3.existingSecret (not (or .Values.state.url .Values.s3.shareCredentials .Values.extraEnvFrom)) -}}
s3.existingSecret: nothing would use its keys; set state.url or s3.shareCredentials, or leave them out
{{- end -}}
{{- end }}

{{- define "maprun.check.sharedCredentialsExist" -}}
{{- $identity := or .Values.serviceAccount.annotations (not .Values.serviceAccount.create) -}}
{{- $given := or .Values.s3.existingSecret $identity .Values.extraEnv .Values.extraEnvFrom -}}
{{- if and .Values.s3.shareCredentials (not $given) -}}
s3.shareCredentials: there is nothing to share; name a Secret in s3.existingSecret, or give the pod an identity
{{- print " (serviceAccount.annotations, or an account of your own with serviceAccount.create=false)" -}}
{{- end -}}
{{- end }}

{{- define "maprun.check.serviceAccountName" -}}
{{- if not (or .Values.serviceAccount.create .Values.serviceAccount.name) -}}
serviceAccount.name: name the ServiceAccount that is there already, or let serviceAccount.create make one
{{- end -}}
{{- end }}

{{- define "maprun.check.serviceAccountAnnotations" -}}
{{- if and (not .Values.serviceAccount.create) .Values.serviceAccount.annotations -}}
serviceAccount.annotations: with serviceAccount.create=false nobody writes them; put them on your own ServiceAccount
{{- end -}}
{{- end }}

{{- define "maprun.check.oneMonitor" -}}
{{- if and .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
metrics.serviceMonitor, metrics.podMonitor: with both Prometheus would count everything twice; enable one
{{- end -}}
{{- end }}

{{- define "maprun.check.serviceOfMonitor" -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.service.enabled) -}}
metrics.serviceMonitor: it finds the pod through the Service; enable metrics.service, or take metrics.podMonitor
{{- end -}}
{{- end }}

{{- define "maprun.check.monitorIsLetIn" -}}
{{- $monitored := or .Values.metrics.serviceMonitor.enabled .Values.metrics.podMonitor.enabled -}}
{{- if and .Values.networkPolicy.enabled $monitored (not .Values.networkPolicy.ingressFrom) -}}
networkPolicy.ingressFrom: Prometheus could not reach the pod; name its namespace,
{{- print " [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- end }}

{{- define "maprun.check.drainsGoThrough" -}}
{{- $none := has (toString .Values.podDisruptionBudget.maxUnavailable) (list "0" "0%") -}}
{{- if and .Values.podDisruptionBudget.enabled $none -}}
podDisruptionBudget.maxUnavailable: 0 would block every drain of the pod's node; runs survive a move, so let it be 1
{{- end -}}
{{- end }}

{{- define "maprun.check.noKeysInValues" -}}
{{- range .Values.extraEnv -}}
{{- if and (hasKey . "value") (has .name (list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN")) }}
extraEnv: {{ .name }} would lie open in the release; put the keys into a Secret and name it in s3.existingSecret
{{- end -}}
{{- end -}}
{{- end }}

{{- define "maprun.check.ownVariables" -}}
{{- $own := dict
      "MAPRUN_NAMESPACES" "namespaces" "MAPRUN_STATE" "state.url"
      "MAPRUN_LEASE" "fullnameOverride" "MAPRUN_KEEP_STATE" "state.keepWhenRunIsDeleted"
      "MAPRUN_CEILING" "childrenPerRun" "MAPRUN_NAMESPACE_CEILING" "childrenPerNamespace"
      "MAPRUN_CLUSTER_CEILING" "childrenInAll" "MAPRUN_PORT" "metrics.port"
      "MAPRUN_SHARE_S3_CREDENTIALS" "s3.shareCredentials" "MAPRUN_S3_ENDPOINTS" "s3.allowedEndpoints"
      "AWS_ENDPOINT_URL_S3" "s3.endpoint" "AWS_REGION" "s3.region" -}}
{{- if .Values.s3.existingSecret -}}
{{- range list "AWS_ACCESS_KEY_ID" "AWS_SECRET_ACCESS_KEY" "AWS_SESSION_TOKEN" -}}
{{- $_ := set $own . "s3.existingSecret" -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if hasKey $own .name }}
extraEnv: {{ .name }} is set by the chart; use the value {{ get $own .name }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "maprun.check.ownVolumes" -}}
{{- range .Values.extraVolumes -}}
{{- if has .name (list "state" "tmp") }}
extraVolumes: the name {{ .name }} is taken by the chart; choose another
{{- end -}}
{{- end -}}
{{- end }}

{{- define "maprun.check.ownLabels" -}}
{{- $own := include "maprun.ownLabels" . | fromYaml | keys -}}
{{- range $key, $_ := merge (deepCopy .Values.commonLabels) .Values.podLabels -}}
{{- if has $key $own }}
commonLabels, podLabels: {{ $key }} is set by the chart; choose another key
{{- end -}}
{{- end -}}
{{- end }}

{{/*
Looks at the operators that are there: at an install or upgrade only, and only for those who make objects of the whole
cluster anyway. Who has rights in some namespaces alone may not list all Deployments, and helm would fail.
*/}}
{{- define "maprun.check.oneOperatorOfARun" -}}
{{- $ours := .Values.namespaces -}}
{{- $administrator := or .Values.crds.enabled .Values.rbac.aggregate .Values.admissionPolicy.enabled -}}
{{- if or $administrator (and .Values.rbac.create (not $ours)) -}}
{{- range (lookup "apps/v1" "Deployment" "" "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- $release := get $labels "app.kubernetes.io/instance" -}}
{{- $role := printf "%s of %s" (get $labels "app.kubernetes.io/component") (get $labels "app.kubernetes.io/part-of") -}}
{{- $own := and (eq $release $.Release.Name) (eq .metadata.namespace $.Release.Namespace) -}}
{{- if and (eq $role "operator of maprun") (not $own) -}}
{{- $place := .metadata.namespace -}}
{{- $theirs := list -}}
{{- range (first .spec.template.spec.containers).env -}}
{{- if eq .name "MAPRUN_NAMESPACES" -}}
{{- $theirs = splitList " " .value -}}
{{- end -}}
{{- end -}}
{{- $shared := $ours | default $theirs | default (list "all namespaces") -}}
{{- if and $ours $theirs -}}
{{- $shared = list -}}
{{- range $ours -}}
{{- if has . $theirs -}}
{{- $shared = append $shared . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with $shared }}
namespaces: the release {{ $release }} in the namespace {{ $place }} drives the runs of {{ join ", " . }} already
{{- print ", and a run belongs to one release; give each release namespaces of its own, or uninstall that one first" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
