{{- define "riskwire.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "riskwire.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "riskwire.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "riskwire.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "riskwire.selector" -}}
app.kubernetes.io/name: {{ include "riskwire.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "riskwire.labels" -}}
{{ include "riskwire.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* single: one process on files. core: only the state is a file, so all but score share a process. split: each role. */ -}}
{{- define "riskwire.shape" -}}
{{- $c := .Values.config -}}
{{- $far := and (eq (dig "bus" "kind" "sqlite" $c) "kafka") (eq (dig "store" "kind" "sqlite" $c) "elastic") -}}
{{- if not $far -}}single{{- else if dig "state" "url" "" $c -}}split{{- else -}}core{{- end -}}
{{- end }}

{{- /* What runs: name of each workload and its roles. */ -}}
{{- define "riskwire.workloads" -}}
{{- $shape := include "riskwire.shape" . -}}
{{- $on := list -}}
{{- range $role := list "ingest" "score" "detect" "notify" "web" -}}
{{- if dig $role "enabled" true $.Values.roles }}{{ $on = append $on $role }}{{ end -}}
{{- end -}}
{{- if eq $shape "single" -}}
{{- toYaml (dict "items" (list (dict "name" "all" "roles" $on))) -}}
{{- else if eq $shape "core" -}}
{{- $rest := without $on "score" -}}
{{- $found := list (dict "name" "core" "roles" $rest) -}}
{{- if has "score" $on }}{{ $found = append $found (dict "name" "score" "roles" (list "score")) }}{{ end -}}
{{- toYaml (dict "items" $found) -}}
{{- else -}}
{{- $found := list -}}
{{- range $on }}{{ $found = append $found (dict "name" . "roles" (list .)) }}{{ end -}}
{{- toYaml (dict "items" $found) -}}
{{- end -}}
{{- end }}

{{- define "riskwire.image" -}}
{{- $i := .root.Values.image -}}
{{- $digest := ternary $i.gpuDigest $i.digest .gpu -}}
{{- $tag := ternary ($i.gpuTag | default (printf "%s-gpu" .root.Chart.AppVersion)) ($i.tag | default (printf "%s-cpu" .root.Chart.AppVersion)) .gpu -}}
{{- if $digest }}{{ $i.repository }}@{{ $digest }}{{ else }}{{ $i.repository }}:{{ $tag }}{{ end -}}
{{- end }}

{{- define "riskwire.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.user }}
runAsGroup: {{ .Values.user }}
fsGroup: {{ .Values.user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "riskwire.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Ports of the push sources: name and number. */ -}}
{{- define "riskwire.pushPorts" -}}
{{- $found := list -}}
{{- range $index, $source := .Values.config.sources -}}
{{- if eq ($source.kind | default "feed") "push" -}}
{{- $found = append $found (dict "name" (printf "push-%d" $index) "port" ($source.port | default 8765 | int)) -}}
{{- end -}}
{{- end -}}
{{- toYaml (dict "items" $found) -}}
{{- end }}

{{- /* The ports in addresses, else a default: {from: list, default: n, given: list} */ -}}
{{- define "riskwire.ports" -}}
{{- $found := list -}}
{{- range .from -}}
{{- range regexFindAll ":[0-9]+" (regexReplaceAll "^[a-z]+://[^@/]*@" . "") -1 -}}
{{- $found = append $found (trimPrefix ":" . | int) -}}
{{- end -}}
{{- end -}}
{{- if not $found }}{{ $found = list (.default | int) }}{{ end -}}
{{- toYaml (dict "items" (.given | default ($found | uniq))) -}}
{{- end }}
