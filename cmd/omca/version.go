package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

func versionVerb() verb {
	return verb{name: "version", usage: "print the version", example: "omca version", run: func(_ context.Context, c *call) error {
		if c.format == "table" {
			c.print("omca %s (%s)\n", version(), runtime.Version())
			return nil
		}
		type build struct {
			Version string `json:"version"`
			Go      string `json:"go"`
		}
		return emitOne(c.printer, build{version(), runtime.Version()}, []column[build]{
			{name: "VERSION", text: func(b build) string { return b.Version }},
			{name: "GO", text: func(b build) string { return b.Go }},
		})
	}}
}

func (p *program) version() error {
	return p.tell(fmt.Sprintf("omca %s (%s)\n", version(), runtime.Version()))
}

// version is what the go command recorded when it built the program.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
