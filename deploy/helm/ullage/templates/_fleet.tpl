{{- define "ullage.ray" -}}
{{- printf "%s-ray" (include "ullage.fullname" . | trunc 40 | trimSuffix "-") }}
{{- end }}

{{- define "ullage.fleet.head" -}}
{{- .Values.fleet.head.address | default (printf "%s-head-svc.%s.svc:6379" (include "ullage.ray" .) .Release.Namespace) }}
{{- end }}

{{- define "ullage.fleet.secret" -}}
{{- .Values.fleet.token.existingSecret | default (include "ullage.ray" .) }}
{{- end }}

{{- define "ullage.fleet.check" -}}
{{- $head := .Values.fleet.head }}
{{- if and (not $head.create) (not $head.address) }}
{{- fail "fleet.head.create: false needs fleet.head.address, where the Ray is that there is already" }}
{{- end }}
{{- if and $head.create $head.address }}
{{- fail "fleet.head.address is for a Ray that is there already: fleet.head.create has to be false" }}
{{- end }}
{{- if and (not $head.create) (not .Values.fleet.token.existingSecret) }}
{{- fail "fleet.token.existingSecret is missing: the token of the Ray that is there already" }}
{{- end }}
{{- if .Values.seeOwners }}
{{- fail "fleet.enabled does not go with seeOwners: the daemon is root then, and its socket root's alone" }}
{{- end }}
{{- end }}

{{- define "ullage.fleet.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsUser: 65532
runAsGroup: 65532
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What Ray's own processes and its drivers have to know. */}}
{{- define "ullage.fleet.ray" -}}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "ullage.fleet.secret" . }}
      key: {{ .Values.fleet.token.key }}
- name: RAY_USAGE_STATS_ENABLED
  value: "0"
- name: HOME
  value: /tmp
- name: USER
  value: ullage
{{- end }}

{{/* This host in the fleet, for the daemon and the agent alike. */}}
{{- define "ullage.fleet.host" -}}
- name: ULLAGE_LISTEN_SOCKET
  value: /run/ullage/ullage.sock
- name: ULLAGE_FLEET_SOCKET
  value: /run/ullage/fleet.sock
- name: ULLAGE_FLEET_NAME
  valueFrom:
    fieldRef:
      fieldPath: spec.nodeName
{{- if .Values.fleet.gateway.enabled }}
- name: ULLAGE_GATEWAY_ENABLED
  value: "true"
- name: ULLAGE_GATEWAY_HOST
  value: $(POD_IP)
- name: ULLAGE_FLEET_ADDRESS
  value: http://$(POD_IP):8553
- name: ULLAGE_FLEET_GATEWAY
  value: "true"
- name: ULLAGE_FLEET_TOKEN_FILE
  value: /run/secrets/ullage-fleet/token
{{- end }}
{{- end }}

{{- define "ullage.fleet.mounts" -}}
- name: run
  mountPath: /run/ullage
{{- if .Values.fleet.gateway.enabled }}
- name: fleet
  mountPath: /run/secrets/ullage-fleet
  readOnly: true
{{- end }}
{{- end }}

{{- define "ullage.fleet.containers" -}}
{{- include "ullage.fleet.check" . }}
# Ray's node of this host. Its bytes are what the daemon says may be promised.
- name: raylet
  image: {{ include "ullage.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [sh, -c]
  args:
    - |
      until found="$(ullage --socket /run/ullage/ullage.sock fleet resources --json)"; do sleep 2; done
      exec ray start --block --address="$RAY_HEAD" --node-ip-address="$POD_IP" --num-cpus=1 --num-gpus=0 \
        --include-log-monitor=false --object-store-memory=104857600 --resources="$found"
  securityContext:
    {{- include "ullage.fleet.security" . | nindent 4 }}
  env:
    {{- include "ullage.fleet.ray" . | nindent 4 }}
    - name: RAY_HEAD
      value: {{ include "ullage.fleet.head" . }}
  resources:
    {{- toYaml .Values.fleet.resources.raylet | nindent 4 }}
  volumeMounts:
    - name: run
      mountPath: /run/ullage
    - name: tmp
      mountPath: /tmp
    - name: shm
      mountPath: /dev/shm
- name: agent
  image: {{ include "ullage.image" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [fleet, join, --node-ip, $(POD_IP)]
  securityContext:
    {{- include "ullage.fleet.security" . | nindent 4 }}
  env:
    {{- include "ullage.fleet.ray" . | nindent 4 }}
    {{- include "ullage.fleet.host" . | nindent 4 }}
  resources:
    {{- toYaml .Values.fleet.resources.agent | nindent 4 }}
  volumeMounts:
    {{- include "ullage.fleet.mounts" . | nindent 4 }}
    - name: config
      mountPath: /etc/ullage
      readOnly: true
    - name: tmp
      mountPath: /tmp
    - name: shm
      mountPath: /dev/shm
{{- end }}
