{{- define "apolo.bot" -}}{{ .Values.name }}-bot{{- end -}}

{{- define "apolo.pods" -}}
app: {{ include "apolo.bot" . }}
{{- end -}}

{{- define "apolo.labels" -}}
{{ include "apolo.pods" . }}
app.kubernetes.io/name: apolo
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "apolo.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end -}}

{{/* How many pods there are at first. */}}
{{- define "apolo.first" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.minReplicas }}{{ else }}{{ .Values.replicas }}{{ end -}}
{{- end -}}

{{/* What would wait for ever is said here. */}}
{{- define "apolo.check" -}}
{{- if and .Release.IsInstall (ne (include "apolo.first" . | int) (int .Values.expect)) -}}
{{- fail (printf "a cluster is formed by exactly `expect` nodes: %d are expected, and the set begins with %s. Begin with as many, and scale afterwards" (int .Values.expect) (include "apolo.first" .)) -}}
{{- end -}}
{{- if and .Values.bot.enabled (not .Values.bot.image) -}}
{{- fail "bot.enabled needs bot.image" -}}
{{- end -}}
{{- end -}}
