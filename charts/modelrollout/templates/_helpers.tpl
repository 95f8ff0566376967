{{- define "modelrollout.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "modelrollout.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "modelrollout.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "modelrollout.selectorLabels" -}}
app.kubernetes.io/name: {{ include "modelrollout.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "modelrollout.labels" -}}
{{ include "modelrollout.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "modelrollout.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "modelrollout.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "serviceAccount.name must be given when serviceAccount.create is false" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "modelrollout.image" -}}
{{- $repository := required "image.repository is required: the repository that your cluster pulls the operator's image from, such as --set image.repository=registry.example/operator" .Values.image.repository }}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{/* The operator's allow-list of Prometheus servers: what it reads from the mounted file. */}}
{{- define "modelrollout.prometheusConfig" -}}
{{- $servers := dict }}
{{- range $name, $server := .Values.prometheus }}
{{- $entry := omit $server "secretName" "secretKeys" }}
{{- $directory := printf "/etc/modelrollout/credentials/%s" $name }}
{{- range $use, $key := $server.secretKeys }}
{{- $_ := set $entry (printf "%sFile" $use) (printf "%s/%s" $directory $key) }}
{{- end }}
{{- if and $server.secretKeys (not $server.secretName) }}
{{- fail (printf "prometheus.%s.secretKeys names keys of a Secret, but prometheus.%s.secretName is not given" $name $name) }}
{{- end }}
{{- /* What excludes each other is said here: of a schema Helm would only tell that it is "false". */ -}}
{{- if and $server.username (dig "bearerToken" "" (default dict $server.secretKeys)) }}
{{- fail (printf "prometheus.%s has two ways to log in: give secretKeys.bearerToken, or username with secretKeys.password, not both" $name) }}
{{- end }}
{{- if and $server.insecureSkipVerify (dig "ca" "" (default dict $server.secretKeys)) }}
{{- fail (printf "prometheus.%s has secretKeys.ca, but with insecureSkipVerify no certificate is checked: give one of them" $name) }}
{{- end }}
{{- $_ := set $servers $name $entry }}
{{- end }}
{{- toYaml $servers }}
{{- end }}

{{/* Where a NetworkPolicy has to let out to for Prometheus. It sees the ports of pods, and an address has the port of a Service,
which may be another one: unless they are given, Prometheus' own port is let out as well. */}}
{{- define "modelrollout.prometheusPorts" -}}
{{- $ports := list "9090" }}
{{- range $name, $server := .Values.prometheus }}
{{- $url := urlParse $server.url }}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" }}
{{- $ports = append $ports (default (ternary "443" "80" (eq $url.scheme "https")) $port) }}
{{- end }}
{{- default $ports .Values.networkPolicy.prometheusPorts | uniq | sortAlpha | join "," }}
{{- end }}
