{{- /* Values that would give a service that does not work, or is not safe, each with what to do. Rendered by checks.yaml. */}}

{{- define "sciencebox.checks" -}}
{{- $hub := .Values.jupyterhub.hub | default dict -}}
{{- $session := .Values.jupyterhub.singleuser | default dict -}}

{{- /* Values of an older chart, or of another one, and where they are now. */}}
{{- $moved := dict
  "hub" "jupyterhub.hub" "proxy" "jupyterhub.proxy" "singleuser" "jupyterhub.singleuser" "ingress" "jupyterhub.ingress"
  "cull" "sciencebox.idle" "settings" "sciencebox" "networkPolicy" "sessionNetwork" -}}
{{- range $old, $new := $moved }}
{{- if hasKey $.Values $old }}
{{- fail (printf "`%s` is not a value of this chart: move what is below it to `%s`." $old $new) }}
{{- end }}
{{- end }}

{{- if not .Values.jupyterhub.enabled }}
{{- fail "`jupyterhub.enabled: false` leaves nothing that could be used: set it to true. Only cvmfs-csi and nvidia-device-plugin may be switched off." }}
{{- end }}
{{- if ne (dig "stack" "source" "local" .Values.sciencebox) "client" }}
{{- fail "A cluster mounts its software stack: set `sciencebox.stack.source: client`. It is built and published by a server, see docs/stack.md." }}
{{- end }}
{{- if dig "stack" "publish" "enabled" false .Values.sciencebox }}
{{- fail "A cluster does not publish the stack: remove `sciencebox.stack.publish`, and publish on the server that builds it." }}
{{- end }}
{{- if dig "stack" "client" "enabled" false .Values.sciencebox }}
{{- fail "On a cluster cvmfs-csi mounts the stack, on every node: remove `sciencebox.stack.client`, and set `cvmfs-csi`." }}
{{- end }}
{{- if ne (dig "accounts" "source" "local" .Values.sciencebox) "local" }}
{{- fail "`sciencebox.accounts.source` is for one server: on a cluster, set `jupyterhub.hub.config.JupyterHub.authenticator_class`, see docs/kubernetes.md." }}
{{- end }}
{{- if dig "gpus" "shares" list .Values.sciencebox }}
{{- fail "A cluster's GPUs are shared by NVIDIA's device plugin (time-slicing or MPS): remove `sciencebox.gpus.shares`." }}
{{- end }}
{{- if dig "gpus" "simulate" 0 .Values.sciencebox }}
{{- fail "A cluster's GPUs are what its nodes offer, and none is simulated: remove `sciencebox.gpus.simulate`." }}
{{- end }}
{{- if dig "monitoring" "enabled" false .Values.sciencebox }}
{{- fail "A cluster brings its own Prometheus: set `serviceMonitor.enabled: true` instead of `sciencebox.monitoring.enabled`." }}
{{- end }}
{{- if and (eq .Values.cvmfs.source "csi") (not .Values.cvmfs.storageClass) }}
{{- fail "`cvmfs.storageClass` is empty: name the storage class of cvmfs-csi, which is `cvmfs` unless you chose another one." }}
{{- end }}

{{- range $claim := list "sciencebox-cvmfs" }}
{{- if not (contains $claim (toJson ($session.storage).extraVolumes)) }}
{{- fail (printf "`jupyterhub.singleuser.storage.extraVolumes` has lost `%s`: give that key named entries, not a list, or repeat what values.yaml has there." $claim) }}
{{- end }}
{{- end }}
{{- range $volume := list "sciencebox-settings" "sciencebox-secrets" "sciencebox-cvmfs" }}
{{- if not (and (contains $volume (toJson $hub.extraVolumes)) (contains $volume (toJson $hub.extraVolumeMounts))) }}
{{- fail (printf "`jupyterhub.hub.extraVolumes` and `extraVolumeMounts` must keep `%s`: helm replaces lists as a whole, so repeat what values.yaml has there." $volume) }}
{{- end }}
{{- end }}
{{- if contains "\"configMap\":{\"name\":\"sciencebox-settings\"" (toJson $hub.extraVolumes) }}
{{- fail "`sciencebox-settings` is a Secret now: write `secret: {secretName: sciencebox-settings}` in `jupyterhub.hub.extraVolumes`." }}
{{- end }}
{{- if ne (($hub.db).type | default "sqlite-pvc") "sqlite-pvc" }}
{{- fail "`jupyterhub.hub.db.type` must be `sqlite-pvc`: the hub's image has no client of another database, and the claim keeps the uids of users, too. Leave it out." }}
{{- end }}
{{- if or $hub.allowNamedServers (dig "config" "JupyterHub" "allow_named_servers" false $hub) }}
{{- fail "`jupyterhub.hub.allowNamedServers` would give users several sessions each, and limits hold for a session: leave it false." }}
{{- end }}
{{- with .Values.administrator.existingSecret }}
{{- if not (contains (printf "\"secretName\":%q" .) (toJson $hub.extraVolumes)) }}
{{- fail (printf "`administrator.existingSecret: %s` is not what the hub mounts: name it in `jupyterhub.hub.extraVolumes`, under `sciencebox-secrets`, too." .) }}
{{- end }}
{{- end }}
{{- $mounted := contains "sciencebox-data" (toJson ($session.storage).extraVolumes) }}
{{- if and .Values.data.enabled (not $mounted) }}
{{- fail "`data.enabled` makes a claim that no session mounts: add `sciencebox-data` to `jupyterhub.singleuser.storage`, as deploy/helm/examples/one-node.yaml does." }}
{{- end }}
{{- if and $mounted (not .Values.data.enabled) }}
{{- fail "Sessions mount the claim `sciencebox-data`, which is not made: set `data.enabled: true`, or take it out of `jupyterhub.singleuser.storage`." }}
{{- end }}

{{- $firewall := include "sciencebox.firewall" . | fromJson }}
{{- if and $firewall.enabled ($session.networkPolicy).enabled }}
{{- fail "`jupyterhub.singleuser.networkPolicy.enabled` would allow what ours forbids, for policies add up: leave it false, and use `sciencebox.firewall`." }}
{{- end }}
{{- if ($session.cloudMetadata).blockWithIptables }}
{{- fail "`jupyterhub.singleuser.cloudMetadata.blockWithIptables` is a privileged container in every session: leave it false; the network policy keeps that address away." }}
{{- end }}
{{- if not (or (has "169.254.0.0/16" .Values.sessionNetwork.inside) (has "169.254.0.0/16" $firewall.refuse)) }}
{{- fail "`sessionNetwork.inside` must have 169.254.0.0/16, where clouds hand out a machine's credentials: put it back." }}
{{- end }}
{{- range $firewall.allow }}
{{- if or (hasPrefix "169.254." .) (hasSuffix "/0" .) }}
{{- fail (printf "`sciencebox.firewall.allow` has %s, by which sessions would reach a cloud's credentials: name the networks that are meant." .) }}
{{- end }}
{{- end }}

{{- if and .Values.jobs.spark (not .Values.jobs.enabled) }}
{{- fail "`jobs.spark` puts executors beside jobs: set `jobs.enabled: true`, too." }}
{{- end }}
{{- if .Values.jobs.enabled }}
{{- if ne ($session.serviceAccountName | default "") (include "sciencebox.sessionAccount" .) }}
{{- fail (printf "`jobs.enabled` needs sessions with an account: set `jupyterhub.singleuser.serviceAccountName: %s`." (include "sciencebox.sessionAccount" .)) }}
{{- end }}
{{- if and $firewall.enabled (not .Values.jobs.apiServer) }}
{{- fail "`jobs.enabled` needs `jobs.apiServer`, or no session could reach it: `kubectl get endpoints kubernetes` tells the address and the port." }}
{{- end }}
{{- else if $session.serviceAccountName }}
{{- fail "`jupyterhub.singleuser.serviceAccountName` gives every session rights in the cluster: set `jobs.enabled: true`, which makes an account for jobs alone, or leave it out." }}
{{- end }}

{{- if and .Values.serviceMonitor.enabled (not (.Capabilities.APIVersions.Has "monitoring.coreos.com/v1")) }}
{{- fail "`serviceMonitor.enabled` needs the Prometheus operator, which this cluster has not: install it, or set it to false. (With `helm template`: --api-versions monitoring.coreos.com/v1)" }}
{{- end }}
{{- $apis := .Capabilities.APIVersions }}
{{- if and (dig "kubernetes" "kueue" "" .Values.sciencebox) (not (or ($apis.Has "kueue.x-k8s.io/v1beta2") ($apis.Has "kueue.x-k8s.io/v1beta1"))) }}
{{- fail "`sciencebox.kubernetes.kueue` needs Kueue, which this cluster has not: install it, or leave the key empty. (With `helm template`: --api-versions kueue.x-k8s.io/v1beta2)" }}
{{- end }}
{{- include "sciencebox.storageCheck" . }}
{{- end }}

{{- /* Only where a cluster answers: `helm template` and `helm lint` see none. */}}
{{- define "sciencebox.storageCheck" -}}
{{- $storage := (.Values.jupyterhub.singleuser).storage | default dict -}}
{{- $class := ($storage.dynamic).storageClass | default "" -}}
{{- if and (lookup "v1" "Namespace" "" "kube-system") (eq ($storage.type | default "dynamic") "dynamic") }}
{{- $known := list -}}
{{- $default := false -}}
{{- range (lookup "storage.k8s.io/v1" "StorageClass" "" "").items }}
{{- $known = append $known .metadata.name }}
{{- if eq (dig "annotations" "storageclass.kubernetes.io/is-default-class" "" .metadata) "true" }}{{ $default = true }}{{ end }}
{{- end }}
{{- $list := join ", " $known | default "none" -}}
{{- if and $class (not (has $class $known)) }}
{{- fail (printf "This cluster has no storage class `%s`. It has: %s. Name one in `jupyterhub.singleuser.storage.dynamic.storageClass`." $class $list) }}
{{- end }}
{{- if not (or $class $default) }}
{{- fail (printf "This cluster has no default storage class, so homes would never be made. Name one in `jupyterhub.singleuser.storage.dynamic.storageClass` and `jupyterhub.hub.db.pvc.storageClassName`. It has: %s." $list) }}
{{- end }}
{{- end }}
{{- end }}
