package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseProgram gives the pages of the program back that are mapped from its
// file. A start touches most of it once, to make tables that the libraries want
// made, and the kernel maps sixteen pages around each that is touched: they would
// count as the daemon's memory for as long as it runs. They stay in the kernel's page cache: what is needed again costs a minor
// fault. The mappings are read-only, so nothing is lost; a failure costs memory
// and nothing else, hence no error.
func releaseProgram() {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		// 00400000-01355000 r-xp 00000000 fe:00 10177345 /usr/bin/omca
		field := strings.Fields(lines.Text())
		if len(field) != 6 || field[5] != self || strings.Contains(field[1], "w") {
			continue
		}
		from, to, _ := strings.Cut(field[0], "-")
		begin, beginErr := strconv.ParseUint(from, 16, 64)
		end, endErr := strconv.ParseUint(to, 16, 64)
		if beginErr == nil && endErr == nil {
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, uintptr(begin), uintptr(end-begin), unix.MADV_DONTNEED)
		}
	}
}
