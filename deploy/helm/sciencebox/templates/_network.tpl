{{- /* `sciencebox.firewall`, with the defaults of the settings' model, as JSON: enabled, refuse, allow. */}}
{{- define "sciencebox.firewall" -}}
{{- $refuse := dig "firewall" "refuse" (list "169.254.0.0/16") .Values.sciencebox -}}
{{- $allow := dig "firewall" "allow" list .Values.sciencebox -}}
{{- dict "enabled" (dig "firewall" "enabled" true .Values.sciencebox) "refuse" $refuse "allow" $allow | toJson -}}
{{- end }}

{{- /* An address or a network, as a network. */}}
{{- define "sciencebox.cidr" -}}
{{- contains "/" . | ternary . (printf "%s/32" .) -}}
{{- end }}

{{- /* Sessions, and the executors of their Spark, as peers in a policy of the other's namespace. */}}
{{- define "sciencebox.sessionsFromOutside" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ .Release.Namespace }}
  podSelector:
    matchLabels:
      {{- include "sciencebox.podsOf" (list . "singleuser-server") | nindent 6 }}
{{- end }}

{{- define "sciencebox.executorsFromOutside" -}}
- namespaceSelector:
    matchLabels:
      kubernetes.io/metadata.name: {{ include "sciencebox.jobsNamespace" . }}
  podSelector:
    matchLabels:
      spark-role: executor
{{- end }}

{{- /* What a session or a job reaches outside: names, and the world as the settings say. */}}
{{- define "sciencebox.outside" -}}
{{- $network := .Values.sessionNetwork -}}
{{- $firewall := include "sciencebox.firewall" . | fromJson -}}
# Names.
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: {{ $network.dns.namespace }}
    {{- range $network.dns.addresses }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- if not (has "0.0.0.0/0" $firewall.refuse) }}
{{- $refused := $network.inside }}
{{- range $firewall.refuse }}
{{- $refused = append $refused (include "sciencebox.cidr" .) }}
{{- end }}
# The world, without what is inside the site or the cluster and what the settings refuse.
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{ $refused | uniq | toJson }}
    - ipBlock:
        cidr: ::/0
        except: {{ $network.inside6 | toJson }}
{{- end }}
{{- range $firewall.allow }}
- to:
    - ipBlock:
        cidr: {{ include "sciencebox.cidr" . }}
{{- end }}
{{- end }}
