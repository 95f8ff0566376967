{{- define "inference.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "inference.fullname" -}}
{{- default .Release.Name .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- /* What all versions share, and so what the Service selects. */ -}}
{{- define "inference.selectorLabels" -}}
app.kubernetes.io/name: {{ include "inference.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: server
{{- end }}

{{- define "inference.labels" -}}
{{ include "inference.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* "true" if the Deployment is one of this release's whose version is not among the values any more: an upgrade deletes it. */ -}}
{{- define "inference.dropped" -}}
{{- $root := .root }}
{{- $labels := dig "metadata" "labels" (dict) (lookup "apps/v1" "Deployment" $root.Release.Namespace .deployment) }}
{{- $ours := eq (get $labels "app.kubernetes.io/instance") $root.Release.Name }}
{{- $made := eq (get $labels "app.kubernetes.io/managed-by") $root.Release.Service }}{{- /* a copy is the operator's */}}
{{- if and $ours $made (not (hasKey $root.Values.versions (get $labels "app.kubernetes.io/version"))) }}true{{ end }}
{{- end }}

{{- define "inference.image" -}}
{{- $image := .image }}
{{- $repository := required "image.repository is required: the repository that your cluster pulls the inference server's image from, such as --set image.repository=registry.example/inference-server" $image.repository }}
{{- if $image.digest -}}
{{ $repository }}@{{ $image.digest }}
{{- else -}}
{{ $repository }}:{{ default .appVersion $image.tag }}
{{- end }}
{{- end }}

{{- define "inference.container" -}}
{{- $root := .root }}{{- $version := .version }}
- name: server
  {{- $image := mergeOverwrite (deepCopy $root.Values.image) (default dict $version.image) }}
  image: {{ include "inference.image" (dict "image" $image "appVersion" $root.Chart.AppVersion) }}
  imagePullPolicy: {{ $image.pullPolicy }}
  {{- with $root.Values.securityContext }}
  securityContext: {{- toYaml . | nindent 4 }}
  {{- end }}
  env:
  - name: POD_NAME
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
  {{- with $version.artifacts }}
  - {name: INFERENCE_ARTIFACTS, value: {{ . | quote }}}
  {{- end }}
  {{- range $name, $value := mergeOverwrite (deepCopy $root.Values.env) (default dict $version.env) }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
  {{- with $root.Values.admin }}
  {{- if .secretName }}
  - {name: INFERENCE_ADMIN_TOKEN_FILE, value: /etc/inference/admin/token}
  - {name: INFERENCE_ADMIN_PORT, value: {{ .port | quote }}}
  {{- end }}
  {{- end }}
  ports:
  - {name: http, containerPort: 8080}
  {{- if $root.Values.admin.secretName }}
  - {name: admin, containerPort: {{ $root.Values.admin.port }}}
  {{- end }}
  startupProbe:
    httpGet: {path: /health/startup, port: http}
    periodSeconds: 1
    failureThreshold: 120
  livenessProbe:  # patient: to restart what is merely overloaded makes the overload worse
    httpGet: {path: /v2/health/live, port: http}
    periodSeconds: 10
    timeoutSeconds: 10
    failureThreshold: 6
  readinessProbe:
    httpGet: {path: /v2/health/ready, port: http}
    periodSeconds: 2
    timeoutSeconds: 5
  resources: {{- toYaml (default $root.Values.resources $version.resources) | nindent 4 }}
  volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: logs, mountPath: /var/log/inference}
  {{- if $root.Values.admin.secretName }}
  - {name: admin, mountPath: /etc/inference/admin, readOnly: true}
  {{- end }}
  {{- with $root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
