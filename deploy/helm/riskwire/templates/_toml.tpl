{{- /* One TOML value. JSON's strings, numbers and booleans are TOML's; a table within a list becomes an inline one. */ -}}
{{- define "riskwire.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{- range $i, $key := keys . | sortAlpha }}{{ if $i }},{{ end }} {{ $key | toRawJson }} = {{ include "riskwire.toml.value" (get $ $key) }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{ range $i, $item := . }}{{ if $i }}, {{ end }}{{ include "riskwire.toml.value" $item }}{{ end }}]
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end }}

{{- define "riskwire.toml.keys" -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := get $ $key }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "riskwire.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}

{{- /* riskwire.toml of {root, config}. */ -}}
{{- define "riskwire.toml" -}}
{{- $chart := dict "observe" (dict "listen" "0.0.0.0:9464") -}}
{{- $v := .root.Values -}}
{{- if $v.roles.web.enabled -}}
{{- $service := printf "%s-web" (include "riskwire.fullname" .root) -}}
{{- $hosts := concat (dig "web" "hosts" list .config) (list $service (printf "%s.%s.svc" $service .root.Release.Namespace)) -}}
{{- if $v.web.ingress.enabled }}{{ $hosts = append $hosts $v.web.ingress.host }}{{ end -}}
{{- if $v.web.httpRoute.enabled }}{{ $hosts = concat $hosts $v.web.httpRoute.hostnames }}{{ end -}}
{{- $_ := set $chart "web" (dict "listen" (printf "0.0.0.0:%d" (int $v.web.port)) "hosts" ($hosts | uniq)) -}}
{{- end -}}
{{- $config := mergeOverwrite (deepCopy .config) $chart -}}
data_dir = "/var/lib/riskwire"
{{- range $name := keys $config | sortAlpha }}
{{- $section := get $config $name }}
{{- if kindIs "map" $section }}

[{{ $name }}]
{{- include "riskwire.toml.keys" $section }}
{{- else if kindIs "slice" $section }}
{{- range $section }}

[[{{ $name }}]]
{{- include "riskwire.toml.keys" . }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
