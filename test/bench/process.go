//go:build linux && (amd64 || arm64)

package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime returns the processor time, of user and system, that the processes
// have used so far, with all their threads. It is that of clock_getcpuclockid(3):
// in nanoseconds, where the fields of /proc/<pid>/stat are in ticks of 10 ms.
func cpuTime(pids ...int) (time.Duration, error) {
	var total time.Duration
	for _, pid := range pids {
		const perProcess = 2 // CPUCLOCK_SCHED
		var t unix.Timespec
		if err := unix.ClockGettime(int32(^pid<<3|perProcess), &t); err != nil {
			return 0, fmt.Errorf("process %d is gone: %w", pid, err)
		}
		total += time.Duration(t.Nano())
	}
	return total, nil
}

// family returns a process and all its children, theirs too: NSD answers in
// processes of its own.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", all[i], all[i]))
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// memory returns the resident set of a process and its peak, in bytes.
func memory(pid int) (resident, peak int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "kB" {
			continue
		}
		kb, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		switch fields[0] {
		case "VmRSS:":
			resident = kb << 10
		case "VmHWM:":
			peak = kb << 10
		}
	}
	return resident, peak, nil
}
