{{- define "dragoman.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Name of the namespaced objects: unlike for each release in a namespace. */}}
{{- define "dragoman.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{/* Name of the objects without a namespace. A cluster has one installation for a driver name, so it cannot collide
     even when two namespaces hold releases of one name. */}}
{{- define "dragoman.clusterName" -}}
{{- printf "%s-%s" (include "dragoman.fullname" .) .Values.driverName }}
{{- end }}

{{- define "dragoman.selectorLabels" -}}
app.kubernetes.io/name: {{ include "dragoman.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dragoman.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dragoman.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* Name of the controller's objects. Its pods have another app name than the driver's, which are found by theirs. */}}
{{- define "dragoman.controllerName" -}}
{{- printf "%s-controller" (include "dragoman.fullname" . | trunc 52 | trimSuffix "-") }}
{{- end }}

{{- define "dragoman.controllerSelectorLabels" -}}
app.kubernetes.io/name: {{ printf "%s-controller" (include "dragoman.name" . | trunc 52 | trimSuffix "-") }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dragoman.controllerLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "dragoman.controllerSelectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "dragoman.serviceAccountName" -}}
{{- default (ternary (include "dragoman.fullname" .) "" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "dragoman.image" -}}
{{- $tag := ternary (printf "%s-nvml" .Chart.AppVersion) .Chart.AppVersion (eq .Values.backend "nvml") }}
{{- printf "%s:%s" .Values.image.repository (default $tag .Values.image.tag) }}
{{- end }}

{{/* The kubelet's root directory, said in one of three ways. They have to agree (see checks.yaml). */}}
{{- define "dragoman.kubeletDir" -}}
{{- with .Values.kubeletPlugin }}
{{- if .kubeletPluginsDirectoryPath }}
{{- trimSuffix "/" .kubeletPluginsDirectoryPath | trimSuffix "/plugins" }}
{{- else if .kubeletRegistrarDirectoryPath }}
{{- trimSuffix "/" .kubeletRegistrarDirectoryPath | trimSuffix "/plugins_registry" }}
{{- else }}
{{- trimSuffix "/" .kubeletDir }}
{{- end }}
{{- end }}
{{- end }}

{{/* Where the driver keeps its state, below which each driver name has a directory of its own. */}}
{{- define "dragoman.stateDir" -}}/run/dragoman{{- end }}

{{/* Where the container sees the directory of the NVIDIA driver. */}}
{{- define "dragoman.driverRoot" -}}/driver-root{{- end }}
