{{/* The container of a test: (list root check arguments…). */}}
{{- define "perigee.test" -}}
{{- $root := index . 0 -}}
name: check
image: {{ include "perigee.image" (list $root.Values.image $root) | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
command: [/opt/perigee/runtime/bin/java, "@/opt/perigee/options", dev.perigee.operator.InstallCheck]
args: {{ rest . | toJson }}
resources: {{- toYaml $root.Values.resources | nindent 2 }}
securityContext: {{- include "perigee.containerSecurity" $root | nindent 2 }}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
{{- end }}

{{/* Annotations of what a test needs: made before it, and gone after it. */}}
{{- define "perigee.testResource" -}}
helm.sh/hook: test
helm.sh/hook-weight: "-1"
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}
