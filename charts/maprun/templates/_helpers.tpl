{{/* The chart's own name. */}}
{{- define "maprun.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/*
The name of all objects: that of the release, with the chart's name if that is not part of it. 50 characters leave room
for endings.
*/}}
{{- define "maprun.fullname" -}}
{{- $name := include "maprun.name" . -}}
{{- $whole := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) -}}
{{- .Values.fullnameOverride | default $whole | trunc 50 | trimSuffix "-" -}}
{{- end }}

{{- define "maprun.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "maprun.fullname" .) -}}
{{- end }}

{{/* What finds the pod; it can never change. */}}
{{- define "maprun.selectorLabels" -}}
app.kubernetes.io/name: {{ include "maprun.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels that are the chart's own. */}}
{{- define "maprun.ownLabels" -}}
{{ include "maprun.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: maprun
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "maprun.labels" -}}
{{ include "maprun.ownLabels" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Of the pod: nothing that a new chart changes when the operator is the same, for that would restart it. */}}
{{- define "maprun.podLabels" -}}
{{- $labels := omit (include "maprun.labels" . | fromYaml) "helm.sh/chart" "app.kubernetes.io/managed-by" -}}
{{- merge (deepCopy .Values.podLabels) $labels | toYaml -}}
{{- end }}

{{/* Of the pod that runs before an uninstallation: nothing that selects the operator's pods finds it. */}}
{{- define "maprun.leaveLabels" -}}
{{- $own := dict "app.kubernetes.io/name" (include "maprun.leaveName" .) "app.kubernetes.io/component" "leave" -}}
{{- merge $own (include "maprun.podLabels" . | fromYaml) | toYaml -}}
{{- end }}

{{- define "maprun.leaveName" -}}
{{- include "maprun.name" . | trunc 57 }}-leave
{{- end }}

{{/* repository:tag, or repository@digest. */}}
{{- define "maprun.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "maprun.claimName" -}}
{{- .Values.state.volume.existingClaim | default (printf "%s-state" (include "maprun.fullname" .)) -}}
{{- end }}

{{/* Whether pods on different nodes can have the state at the same time: "true", or "" for no. */}}
{{- define "maprun.stateIsShared" -}}
{{- if or .Values.state.url (has "ReadWriteMany" .Values.state.volume.accessModes) -}}
true
{{- end -}}
{{- end }}

{{- define "maprun.replicas" -}}
{{- .Values.replicas | default (include "maprun.stateIsShared" . | empty | ternary 1 2) | int -}}
{{- end }}

{{/* The Lease by which one operator leads; who leaves takes it as well. */}}
{{- define "maprun.lease" -}}
{{ .Release.Namespace }}/{{ include "maprun.fullname" . }}
{{- end }}

{{/* The operator's settings, as environment variables: the default of each is the operator's own. */}}
{{- define "maprun.env" -}}
- {name: MAPRUN_PORT, value: {{ .Values.metrics.port | quote }}}
- {name: MAPRUN_LEASE, value: {{ include "maprun.lease" . | quote }}}
- {name: MAPRUN_CEILING, value: {{ .Values.childrenPerRun | int | quote }}}
{{- with .Values.childrenPerNamespace }}
- {name: MAPRUN_NAMESPACE_CEILING, value: {{ . | int | quote }}}
{{- end }}
{{- with .Values.childrenInAll }}
- {name: MAPRUN_CLUSTER_CEILING, value: {{ . | int | quote }}}
{{- end }}
{{- with .Values.namespaces }}
- {name: MAPRUN_NAMESPACES, value: {{ join " " . | quote }}}
{{- end }}
{{- with .Values.state.url }}
- {name: MAPRUN_STATE, value: {{ . | quote }}}
{{- end }}
{{- if .Values.state.keepWhenRunIsDeleted }}
- {name: MAPRUN_KEEP_STATE, value: "true"}
{{- end }}
{{- if .Values.s3.shareCredentials }}
- {name: MAPRUN_SHARE_S3_CREDENTIALS, value: "true"}
{{- end }}
{{- with .Values.s3.allowedEndpoints }}
- {name: MAPRUN_S3_ENDPOINTS, value: {{ join " " . | quote }}}
{{- end }}
{{- with .Values.s3.endpoint }}
- {name: AWS_ENDPOINT_URL_S3, value: {{ . | quote }}}
{{- end }}
{{- with .Values.s3.region }}
- {name: AWS_REGION, value: {{ . | quote }}}
{{- end }}
{{- with .Values.s3.existingSecret }}
- {name: AWS_ACCESS_KEY_ID, valueFrom: {secretKeyRef: {name: {{ . }}, key: AWS_ACCESS_KEY_ID}}}
- {name: AWS_SECRET_ACCESS_KEY, valueFrom: {secretKeyRef: {name: {{ . }}, key: AWS_SECRET_ACCESS_KEY}}}
- {name: AWS_SESSION_TOKEN, valueFrom: {secretKeyRef: {name: {{ . }}, key: AWS_SESSION_TOKEN, optional: true}}}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* TCP ports that the pod needs: those given, and those of the S3 servers. */}}
{{- define "maprun.egressPorts" -}}
{{- $ports := list -}}
{{- range .Values.networkPolicy.egress.ports -}}
  {{- $ports = append $ports (int .) -}}
{{- end -}}
{{- range compact (prepend .Values.s3.allowedEndpoints .Values.s3.endpoint) -}}
  {{- $host := (urlParse .).host -}}
  {{- $own := regexFind ":[0-9]+$" $host | trimPrefix ":" -}}
  {{- $ports = append $ports ($own | default (hasPrefix "http:" . | ternary 80 443) | int) -}}
{{- end -}}
{{- $ports | uniq | sortAlpha | join " " -}}
{{- end }}

{{/* What all pods of the release have in common, but for their container. */}}
{{- define "maprun.podSpec" -}}
serviceAccountName: {{ include "maprun.serviceAccountName" . }}
automountServiceAccountToken: true
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
