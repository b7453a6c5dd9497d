#!/bin/bash
# systemd: a unit that is wanted has a file in units/, one that runs has one in running/. The node's kubelet does the rest.
set -eu
quiet= verb= unit=
for word in "$@"; do
  case "$word" in
    --quiet|-q) quiet=1 ;;
    -*) ;;
    *) if [ -z "$verb" ]; then verb=$word; else unit=$word; fi ;;
  esac
done
known() { [ -e "@RUN@/known/$unit" ]; }
case "$verb" in
  stop)
    known || { echo "Failed to stop $unit: Unit $unit not loaded." >&2; exit 5; }
    rm -f "@RUN@/units/$unit"
    for _ in $(seq 100); do [ -e "@RUN@/running/$unit" ] || exit 0; sleep 0.1; done
    exit 1 ;;
  start)
    known || { echo "Failed to start $unit: Unit $unit not found." >&2; exit 5; }
    touch "@RUN@/units/$unit"
    for _ in $(seq 100); do [ -e "@RUN@/running/$unit" ] && exit 0; sleep 0.1; done
    exit 1 ;;
  is-active)
    if [ -e "@RUN@/running/$unit" ]; then [ -n "$quiet" ] || echo active; exit 0; fi
    [ -n "$quiet" ] || echo inactive
    exit 3 ;;
  daemon-reload|enable|disable|reset-failed) exit 0 ;;
  *) echo "systemctl: the lab knows no $verb" >&2; exit 1 ;;
esac
