#!/bin/bash
# A transient unit in the background; with Restart=on-failure it is begun again until it succeeds.
set -eu
restart= unit=transient
while [ $# -gt 0 ]; do
  case "$1" in
    --unit=*) unit=${1#--unit=} ;;
    --property=Restart=on-failure) restart=1 ;;
    --*) ;;
    *) break ;;
  esac
  shift
done
(
  exec </dev/null >>"/var/log/$unit.log" 2>&1
  until "$@"; do
    [ -n "$restart" ] || break
    sleep 2
  done
) &
disown
