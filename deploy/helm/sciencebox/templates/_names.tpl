{{- /* Names are fixed, as zero-to-jupyterhub's are: values refer to them, and a namespace has one release. */}}

{{- define "sciencebox.labels" -}}
app.kubernetes.io/name: sciencebox
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* What belongs to no namespace carries that of the release in its name. */}}
{{- define "sciencebox.clusterName" -}}
{{ .Release.Namespace }}-{{ .Release.Name }}
{{- end }}

{{- define "sciencebox.jobsNamespace" -}}
{{ .Release.Namespace }}-jobs
{{- end }}

{{- /* Namespaces in which the software stack is mounted, as a JSON list. */}}
{{- define "sciencebox.stackNamespaces" -}}
{{- $all := list .Release.Namespace -}}
{{- if .Values.jobs.enabled }}{{ $all = append $all (include "sciencebox.jobsNamespace" .) }}{{ end -}}
{{ $all | toJson }}
{{- end }}

{{- /* The account under which sessions may create jobs. */}}
{{- define "sciencebox.sessionAccount" -}}
sciencebox-session
{{- end }}

{{- /* Pods of zero-to-jupyterhub: (list . "hub"). */}}
{{- define "sciencebox.podsOf" -}}
app: {{ (index . 0).Values.jupyterhub.nameOverride | default "jupyterhub" }}
release: {{ (index . 0).Release.Name }}
component: {{ index . 1 }}
{{- end }}

{{- define "sciencebox.hubAccount" -}}
{{- $account := (.Values.jupyterhub.hub).serviceAccount | default dict -}}
{{ $account.name | default "hub" }}
{{- end }}
