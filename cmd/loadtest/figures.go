//go:build linux

package main

import (
	"math"
	"strconv"
)

// Names of figures, as they stand in the JSON. The package comment says how each is measured.
const (
	figCPU             = "cpu_us_per_delivery"
	figKernelShare     = "kernel_percent"
	figP50             = "latency_p50_ms"
	figP99             = "latency_p99_ms"
	figMax             = "latency_max_ms"
	figDeliveries      = "deliveries_per_s"
	figPerRead         = "events_per_read"
	figBytes           = "bytes_per_event"
	figRedisEvent      = "redis_us_per_event"
	figClientCPU       = "client_us_per_delivery"
	figMemory          = "pss_kib_per_stream"
	figMemoryPeak      = "pss_peak_kib_per_stream"
	figResident        = "rss_kib_per_stream"
	figGoroutines      = "goroutines_per_stream"
	figIdleCPU         = "idle_cpu_percent"
	figSubscribes      = "redis_subscribe_commands"
	figCaughtUp        = "caught_up_s"
	figCPUResume       = "cpu_us_per_resume"
	figRedisCommands   = "redis_commands"
	figRedisPerChannel = "redis_commands_per_channel"
	figConnects        = "connects_per_s"
	figCPUConnect      = "cpu_us_per_connect"
	figCPUDisconnect   = "cpu_us_per_disconnect"
	figOpenP50         = "open_p50_ms"
	figOpenP99         = "open_p99_ms"
	figPublishes       = "publishes_per_s"
	figCPUPublish      = "cpu_us_per_publish"
	figRedisPublish    = "redis_us_per_publish"
	figAnswerP50       = "answer_p50_ms"
	figAnswerP99       = "answer_p99_ms"
	figSelfPublish     = "publisher_us_per_publish"
	figScripts         = "script_calls_per_message"
	figUnheard         = "messages_without_receiver"
	figReceived        = "messages_received"
	figStored          = "messages_stored"
	figRejected        = "messages_rejected"
	figLost            = "messages_counted_lost"
	figUncounted       = "messages_not_counted"
	figMessages        = "messages_per_s"
	figLeft            = "streams_ended"
	figRefused         = "streams_refused"
	figReadCPU         = "cpu_us_per_reader"
	figReadRedis       = "redis_us_per_reader"
	figReadP50         = "read_p50_ms"
	figReadMax         = "read_max_ms"
	figKeys            = "redis_keys_added"
	figRedisBytes      = "redis_bytes_per_channel"
	figReplicaBytes    = "replica_bytes_per_channel"
	figRedisRate       = "redis_commands_per_s"
	figRedisIdle       = "redis_cpu_percent"
	figElsewhere       = "elsewhere_percent"
	figStolen          = "stolen_percent"
)

// titles are the heads of the figures' columns.
var titles = map[string]string{
	figCPU:             "CPU µs/delivery",
	figKernelShare:     "in kernel %",
	figP50:             "p50 ms",
	figP99:             "p99 ms",
	figDeliveries:      "deliveries/s",
	figPerRead:         "events/read",
	figRedisEvent:      "Redis µs/event",
	figMemory:          "PSS KiB/stream",
	figMemoryPeak:      "at once KiB",
	figResident:        "RSS KiB/stream",
	figGoroutines:      "goroutines/stream",
	figIdleCPU:         "idle CPU %",
	figSubscribes:      "SUBSCRIBEs",
	figCaughtUp:        "all caught up s",
	figCPUResume:       "CPU µs/resume",
	figRedisCommands:   "Redis commands",
	figRedisPerChannel: "per channel",
	figConnects:        "streams/s",
	figCPUConnect:      "CPU µs/connect",
	figCPUDisconnect:   "CPU µs/disconnect",
	figOpenP50:         "open p50 ms",
	figOpenP99:         "open p99 ms",
	figPublishes:       "publishes/s",
	figCPUPublish:      "CPU µs/publish",
	figRedisPublish:    "Redis µs/publish",
	figSelfPublish:     "publisher µs/publish",
	figScripts:         "script calls/message",
	figUnheard:         "no receiver",
	figReceived:        "received",
	figStored:          "stored",
	figRejected:        "rejected",
	figLost:            "counted lost",
	figUncounted:       "not counted",
	figMessages:        "messages/s",
	figLeft:            "streams ended",
	figRefused:         "refused",
	figReadCPU:         "CPU µs/client",
	figReadRedis:       "Redis µs/client",
	figReadP50:         "p50 ms",
	figReadMax:         "longest ms",
	figKeys:            "keys added",
	figRedisBytes:      "Redis bytes/channel",
	figReplicaBytes:    "replica bytes/channel",
	figRedisRate:       "Redis commands/s",
	figRedisIdle:       "Redis CPU %",
	figAnswerP50:       "answer p50 ms",
	figAnswerP99:       "answer p99 ms",
}

// counts are the figures that are whole numbers.
var counts = map[string]bool{
	figUnheard: true, figReceived: true, figStored: true, figRejected: true, figLost: true, figUncounted: true,
	figLeft: true, figRefused: true, figKeys: true, figSubscribes: true, figRedisCommands: true,
}

// format writes a figure of a name.
func format(figure string, v float64) string {
	if counts[figure] {
		return whole(v)
	}
	return number(v)
}

// number writes a figure with three significant digits, or a dash if there is none (NaN).
func number(v float64) string {
	switch a := math.Abs(v); {
	case math.IsNaN(v):
		return "–"
	case a >= 1000:
		return thousands(int(math.Round(v)))
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// whole writes a count, or a dash if there is none (NaN).
func whole(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return thousands(int(math.Round(v)))
}

// thousands writes a whole number with commas.
func thousands(n int) string {
	if n < 0 {
		return "-" + thousands(-n)
	}
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
