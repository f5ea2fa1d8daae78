{{- define "riskwire.peers" -}}
- {{ with .to }}to: {{- toYaml . | nindent 4 }}
  {{ end }}ports: [{{ range $i, $port := .ports }}{{ if $i }}, {{ end }}{port: {{ int $port }}, protocol: TCP}{{ end }}]
{{- end }}

{{- /* Where {root, roles} may connect to: what the code of these roles opens, no more. */ -}}
{{- define "riskwire.egress" -}}
{{- $n := .root.Values.networkPolicy -}}
{{- $c := .root.Values.config -}}
{{- $roles := .roles -}}
- to: {{- toYaml $n.dns.to | nindent 4 }}
  ports: [{{ range $i, $port := $n.dns.ports }}{{ if $i }}, {{ end }}{port: {{ int $port }}, protocol: UDP}, {port: {{ int $port }}, protocol: TCP}{{ end }}]
{{- if and (eq (dig "bus" "kind" "sqlite" $c) "kafka") (ne (join "," $roles) "notify") }}
{{- $ports := (include "riskwire.ports" (dict "from" (dig "kafka" "bootstrap" list $c) "default" 9092 "given" $n.kafka.ports) | fromYaml).items }}
{{ include "riskwire.peers" (dict "to" $n.kafka.to "ports" $ports) }}
{{- end }}
{{- if and (eq (dig "store" "kind" "sqlite" $c) "elastic") (or (has "score" $roles) (has "detect" $roles) (has "web" $roles) (has "setup" $roles)) }}
{{- $ports := (include "riskwire.ports" (dict "from" (dig "elastic" "urls" list $c) "default" 9200 "given" $n.elastic.ports) | fromYaml).items }}
{{ include "riskwire.peers" (dict "to" $n.elastic.to "ports" $ports) }}
{{- end }}
{{- if and (dig "state" "url" "" $c) (not (has "setup" $roles)) }}
{{- $hosts := regexReplaceAll "[/?].*$" (regexReplaceAll "^[a-z]+://([^@/]*@)?" (dig "state" "url" "" $c) "") "" }}
{{- $ports := (include "riskwire.ports" (dict "from" (list $hosts) "default" 5432 "given" $n.postgres.ports) | fromYaml).items }}
{{ include "riskwire.peers" (dict "to" $n.postgres.to "ports" $ports) }}
{{- end }}
{{- if and (has "setup" $roles) .root.Values.setup.kibana }}
{{ include "riskwire.peers" $n.kibana }}
{{- end }}
{{- if and $n.internet.enabled (or (has "ingest" $roles) (has "notify" $roles)) }}
- to:
    - ipBlock: {cidr: 0.0.0.0/0, except: {{ toJson $n.internet.exceptV4 }}}
    - ipBlock: {cidr: "::/0", except: {{ toJson $n.internet.exceptV6 }}}
  ports: [{{ range $i, $port := $n.internet.ports }}{{ if $i }}, {{ end }}{port: {{ int $port }}, protocol: TCP}{{ end }}]
{{- end }}
{{- with $n.extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
