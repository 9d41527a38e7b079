#!/busybox sh
# The first process of a machine that sleeps: has a timeout and a grace run across its sleep, and says when each was over, by the
# clock that stands still with the machine. All of it is in memory: what a machine of QEMU shares with its host does not survive its sleep.

/busybox mkdir -p /bin /proc /sys /dev /run /tmp
/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
. /job

say() { printf '%s\n' "$1" >/dev/console; }
fail() { say "{\"failed\": \"$1\"}"; tail -n 20 /run/log >/dev/console; sleep 3600; }
# In nanoseconds, and in seconds.
awake() { sed -n 's/^now at \([0-9]*\) nsecs$/\1/p' /proc/timer_list; }
on() { cut -d' ' -f1 /proc/uptime; }
reason() { sed -n 's/.*"reason":"\([a-z_]*\)".*/\1/p' "$1" | tail -n 1; }
remex() { /remex --server unix:/run/remexd.sock "$@"; }
# The end of what $1 names, which $2 and so on wait for.
watch() {
    name=$1
    shift
    remex "$@" >"/run/$name" 2>>/run/log
    [ -n "$(reason "/run/$name")" ] || fail "$name has no end"
    say "{\"end\": \"$name\", \"reason\": \"$(reason "/run/$name")\", \"awake\": $(awake)}"
}

/remexd --state-dir /run/state --listen unix:/run/remexd.sock --no-legacy --ready-file /run/ready >>/run/log 2>&1 &
until [ -e /run/ready ]; do
    kill -0 $! || fail "remexd does not start"
    sleep 0.1
done

say "{\"began\": $(awake)}"
ends=
watch timeout run -n --json --timeout "${timeout}s" -- sleep 600 &
ends="$ends $!"
remex start --timeout "${timeout}s" -- sleep 600 >/run/detached 2>>/run/log || fail "it cannot be started"
watch detached wait --json "$(cat /run/detached)" &
ends="$ends $!"
# Not by the function: what is killed would be its shell.
/remex --server unix:/run/remexd.sock run -n --json --request-id left -- sleep 600 >/run/left 2>>/run/log &
left=$!
until [ -s /run/left ]; do sleep 0.1; done
id=$(sed -n 's/.*"execution_id":"\([^"]*\)".*/\1/p' /run/left)
kill -9 "$left"
say "{\"left\": $(awake)}"
watch grace wait --json "$id" &
ends="$ends $!"

say "{\"falls asleep\": $(awake), \"on\": $(on)}"
echo "+$sleep" >/sys/class/rtc/rtc0/wakealarm || fail "no alarm can be set"
echo mem >/sys/power/state || fail "it does not sleep"
say "{\"woke\": $(awake), \"on\": $(on)}"
wait $ends
say '{"over": true}'
sleep 3600
