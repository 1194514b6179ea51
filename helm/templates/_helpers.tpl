{{/* Names, labels and images. */}}

{{/* A Service has to be named like this: no dots, a letter first. The longest ending is -test-rights. */}}
{{- define "perigee.name" -}}
{{- $name := ternary .Release.Name (printf "%s-perigee" .Release.Name) (contains "perigee" .Release.Name) -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "perigee-%s" .Release.Name }}{{ end -}}
{{- regexReplaceAll "-+$" ($name | replace "." "-" | trunc 50) "" -}}
{{- end }}

{{/* A version as the value of a label, which takes no plus. */}}
{{- define "perigee.version" -}}
{{- regexReplaceAll "[^A-Za-z0-9]+$" (. | replace "+" "_" | trunc 63) "" | quote -}}
{{- end }}

{{- define "perigee.selector" -}}
app.kubernetes.io/name: perigee
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "perigee.labels" -}}
app.kubernetes.io/name: perigee
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/version: {{ include "perigee.version" .Chart.AppVersion }}
app.kubernetes.io/part-of: perigee
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ include "perigee.version" (printf "%s-%s" .Chart.Name .Chart.Version) }}
{{- end }}

{{/* Reference of an image: repository with its digest, or else with its tag. Takes (list image root). */}}
{{- define "perigee.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest }}{{ $image.repository }}@{{ $image.digest }}{{ else }}{{ $image.repository }}:{{ $image.tag | default (index . 1).Chart.AppVersion }}{{ end -}}
{{- end }}

{{/* The namespaces that scope Namespaces watches, as JSON. */}}
{{- define "perigee.namespaces" -}}
{{- if .Values.namespaces }}{{ toJson (uniq .Values.namespaces) }}{{ else }}{{ toJson (list .Release.Namespace) }}{{ end -}}
{{- end }}

{{/* Restricted Pod Security, of a pod and of a container. */}}
{{- define "perigee.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "perigee.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Who may reach the HTTP port of a gang beside its own pods, as JSON: the operator and whoever reads metrics. */}}
{{- define "perigee.gangReaders" -}}
{{- if and .Values.metrics.podMonitor.enabled (not .Values.networkPolicy.gangs.metricsFrom) }}
{{- fail "networkPolicy.gangs.metricsFrom: gangs are closed and metrics.podMonitor is enabled, so say where Prometheus runs, for example [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}], or set networkPolicy.gangs.enabled: false" }}
{{- end }}
{{- $namespace := dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) }}
{{- $pods := dict "matchLabels" (include "perigee.selector" . | fromYaml) }}
{{- $operator := dict "namespaceSelector" $namespace "podSelector" $pods }}
{{- toJson (prepend (.Values.networkPolicy.gangs.metricsFrom | default list) $operator) -}}
{{- end }}

{{/* Where a pod of this chart may be put and how its image is pulled: the operator's and those of the tests. */}}
{{- define "perigee.scheduling" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
