package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of CPU times in /proc: 100 a second on every platform
// that Go runs Linux on.
const clockTick = 10 * time.Millisecond

// usage is what a process and its descendants have used since they began.
type usage struct {
	cpu  time.Duration // user and system, of all cores
	peak int64         // bytes of memory that were resident at once, for each process at its own worst moment
}

// usageOf reads /proc. Descendants that have ended are in it by the times that
// their parents have taken over.
func usageOf(pid int) (usage, error) {
	stats, err := processes()
	if err != nil {
		return usage{}, err
	}
	if _, ok := stats[pid]; !ok {
		return usage{}, fmt.Errorf("couldn't measure the server: there is no process %d", pid)
	}
	used, family := usage{}, []int{pid}
	for len(family) > 0 {
		member := family[0]
		family = family[1:]
		used.cpu += stats[member].cpu
		used.peak += peakOf(member)
		for child, stat := range stats {
			if stat.parent == member {
				family = append(family, child)
			}
		}
	}
	return used, nil
}

// processStat is a part of /proc/PID/stat.
type processStat struct {
	parent int
	cpu    time.Duration // with that of children that have ended and were waited for
}

func processes() (map[int]processStat, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("couldn't measure the server: %w", err)
	}
	stats := map[int]processStat{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if stat, ok := parseStat(string(text)); err == nil && ok { // it may have ended meanwhile
			stats[pid] = stat
		}
	}
	return stats, nil
}

// parseStat reads proc_pid_stat(5). The program's name, in parentheses, may
// hold anything.
func parseStat(text string) (processStat, bool) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 15 {
		return processStat{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return processStat{}, false
	}
	stat := processStat{parent: parent}
	for _, field := range fields[11:15] { // utime stime cutime cstime
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return processStat{}, false
		}
		stat.cpu += time.Duration(ticks) * clockTick
	}
	return stat, true
}

// peakOf is the most memory that was resident at once, in bytes.
func peakOf(pid int) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kilobytes, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}

// ownCPU is the CPU time of this process.
func ownCPU() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
