{{- /* Volumes and mounts of {root, configMap, secretFiles, data: claim or ""}. */ -}}
{{- define "riskwire.mounts" -}}
- {name: config, mountPath: /etc/riskwire, readOnly: true}
- {name: data, mountPath: /var/lib/riskwire}
- {name: tmp, mountPath: /tmp}
{{- if .secretFiles }}
- {name: secrets, mountPath: /run/secrets/riskwire, readOnly: true}
{{- end }}
{{- with .root.Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "riskwire.volumes" -}}
- name: config
  configMap: {name: {{ .configMap }}}
- name: data
{{- if .data }}
  persistentVolumeClaim: {claimName: {{ .data }}}
{{- else }}
  emptyDir: {sizeLimit: 1Gi}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 1Gi}
{{- with .secretFiles }}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
    {{- range . }}
      - secret:
          name: {{ .secret }}
          items: [{key: {{ .key | quote }}, path: {{ .name | quote }}}]
    {{- end }}
{{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "riskwire.env" -}}
- {name: HOME, value: /var/lib/riskwire}
- {name: XDG_CACHE_HOME, value: /var/lib/riskwire/cache}
{{- end }}

{{- /* What the values say together that a schema cannot check. */ -}}
{{- define "riskwire.check" -}}
{{- $c := .Values.config -}}
{{- if and (ne .Values.roles.ingest.enabled false) (not $c.sources) }}{{ fail "config.sources is empty: the role ingest needs at least one source." }}{{ end -}}
{{- range concat (dig "entities" "watchlists" list $c) (dig "detect" "rules" list $c) -}}
{{- if and (not (hasPrefix "/" .)) (not (hasKey $.Values.files .)) }}{{ fail (printf "config names the file '%s', which is not in files." .) }}{{ end -}}
{{- end -}}
{{- $mounted := list -}}
{{- range .Values.secretFiles }}{{ $mounted = append $mounted (printf "/run/secrets/riskwire/%s" .name) }}{{ end -}}
{{- $tables := list -}}
{{- range $name, $section := $c -}}
{{- if kindIs "map" $section }}{{ $tables = append $tables $section }}{{ else if kindIs "slice" $section }}{{ $tables = concat $tables $section }}{{ end -}}
{{- end -}}
{{- $tables = concat $tables (dig "web" "tokens" list $c) -}}
{{- range $table := $tables -}}
{{- range $key, $value := $table -}}
{{- if and (hasSuffix "_file" $key) (kindIs "string" $value) (hasPrefix "/run/secrets/riskwire/" $value) (not (has $value $mounted)) -}}
{{- fail (printf "%s is %s, which no entry of secretFiles provides." $key $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $a := .Values.autoscaling -}}
{{- if ne $a.kind "none" -}}
{{- if eq (include "riskwire.shape" .) "single" }}{{ fail "autoscaling needs bus.kind = kafka and store.kind = elastic: files have one owner." }}{{ end -}}
{{- $partitions := dig "kafka" "partitions" 8 $c | int -}}
{{- if gt (int $a.maxReplicas) $partitions }}{{ fail (printf "autoscaling.maxReplicas is %d, but config.kafka.partitions is %d: more workers than partitions stand idle." (int $a.maxReplicas) $partitions) }}{{ end -}}
{{- if gt (int $a.minReplicas) (int $a.maxReplicas) }}{{ fail "autoscaling.minReplicas is greater than maxReplicas." }}{{ end -}}
{{- if and (eq $a.kind "hpa") (lt (int $a.minReplicas) 1) }}{{ fail "autoscaling.minReplicas must be at least 1 with hpa: it cannot wake up from none." }}{{ end -}}
{{- if and (eq $a.kind "keda") (ne (dig "kafka" "security" "plaintext" $c) "plaintext") (not $a.keda.existingAuthentication) (not $a.keda.secrets) -}}
{{- fail "autoscaling.keda needs existingAuthentication or secrets: the brokers want a login or TLS." -}}
{{- end -}}
{{- end -}}
{{- if and .Values.roles.web.enabled (not (dig "web" "tokens" list $c)) }}{{ fail "roles.web.enabled needs config.web.tokens: nobody reads or acts without one beyond loopback." }}{{ end -}}
{{- if and .Values.web.ingress.enabled (not .Values.web.ingress.host) }}{{ fail "web.ingress.host is missing." }}{{ end -}}
{{- if and (or .Values.web.ingress.enabled .Values.web.httpRoute.enabled) (not .Values.roles.web.enabled) }}{{ fail "web.ingress and web.httpRoute need roles.web.enabled." }}{{ end -}}
{{- end }}
