package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"omca/internal/wire"
)

// mostSkew is how far the clocks of this machine and of the server may be apart, in either direction: certificates
// begin a minute in the past.
const mostSkew = time.Minute

func doctorVerb() verb {
	return verb{
		name: "doctor", usage: "what needs a hand, and the command that mends it; exit 0 when nothing does. Nothing is changed",
		example: "omca doctor\nomca doctor -o json", run: doctor,
	}
}

func doctor(ctx context.Context, c *call) error {
	// Before the store is opened, which makes the home.
	troubles, err := c.checkHome()
	if err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	found, err := api.Doctor(ctx)
	if err != nil {
		return err
	}
	troubles = append(troubles, found.Items...)
	troubles = append(troubles, c.checkClock(found.Now)...)
	troubles = append(troubles, c.checkContexts()...)
	troubles, facts := apart(troubles)
	if c.format == "table" {
		c.printTroubles(troubles, facts)
	} else if err := emit(c.printer, append(slices.Clone(troubles), facts...), troubleColumns()); err != nil {
		return err
	}
	if len(troubles) == 0 {
		return nil
	}
	// What is wrong is what was asked for: it is printed, and the status says so too.
	return errors.Join(c.flush(), fmt.Errorf("%d to mend", len(troubles)))
}

// apart returns what needs a hand, errors first, and what is only good to know.
func apart(all []wire.Trouble) (troubles, facts []wire.Trouble) {
	for _, t := range all {
		if t.Level == "info" {
			facts = append(facts, t)
		} else {
			troubles = append(troubles, t)
		}
	}
	slices.SortStableFunc(troubles, func(a, b wire.Trouble) int { return strings.Compare(a.Level, b.Level) })
	return troubles, facts
}

// printTroubles holds back a paragraph for each: sentences are too long for a table.
func (c *call) printTroubles(troubles, facts []wire.Trouble) {
	if len(troubles) == 0 {
		c.print("nothing to mend\n")
	}
	for _, t := range append(slices.Clone(troubles), facts...) {
		what := t.What
		if t.Object != "" {
			what = t.Object + ": " + what
		}
		const width = 78
		head := c.paint(t.Level, false) + ": "
		for i, line := range wrap(cell(what), width-len(t.Level)) {
			if i > 0 {
				head = "  "
			}
			c.print("%s%s\n", head, line)
		}
		if t.Mend != "" {
			c.print("  mend: %s\n", cell(t.Mend))
		}
	}
}

func troubleColumns() []column[wire.Trouble] {
	type t = wire.Trouble
	return []column[t]{
		{name: "LEVEL", text: func(t t) string { return t.Level }},
		{name: "CHECK", text: func(t t) string { return t.Check }},
		{name: "OBJECT", text: func(t t) string { return t.Object }},
		{name: "WHAT", text: func(t t) string { return t.What }},
		{name: "MEND", text: func(t t) string { return t.Mend }},
	}
}

// checkHome looks for files that others can read, when the home is on this machine.
func (c *call) checkHome() ([]wire.Trouble, error) {
	d, err := c.destination()
	if err != nil || !d.isLocal() {
		return nil, err
	}
	home, err := c.home()
	if err != nil {
		return nil, err
	}
	files := []string{home}
	entries, err := os.ReadDir(home)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		if e.Type().IsRegular() {
			files = append(files, filepath.Join(home, e.Name()))
		}
	}
	if file := c.passphraseFile(); file != "" {
		files = append(files, file)
	}
	var all []wire.Trouble
	for _, file := range files {
		info, err := os.Stat(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if mode := info.Mode().Perm(); mode&0o077 != 0 {
			all = append(all, wire.Trouble{
				Check: "home", Level: "error", What: fmt.Sprintf("%s: mode %04o lets others in", file, mode), Mend: "chmod go-rwx " + file,
			})
		}
	}
	return all, nil
}

// checkClock compares the clock of the server with ours.
func (c *call) checkClock(server time.Time) []wire.Trouble {
	skew := server.Sub(c.now())
	if skew.Abs() <= mostSkew {
		return nil
	}
	what := fmt.Sprintf("the clock of the server is %s ahead of the one here", skew.Round(time.Second))
	if skew < 0 {
		what = fmt.Sprintf("the clock of the server is %s behind the one here", -skew.Round(time.Second))
	}
	return []wire.Trouble{{Check: "clock", Level: "error", What: what, Mend: "timedatectl set-ntp true"}}
}

// checkContexts looks for saved servers that are believed whoever they are.
func (c *call) checkContexts() []wire.Trouble {
	saved, err := c.saved()
	if err != nil {
		return []wire.Trouble{{Check: "context", Level: "error", What: err.Error(), Mend: c.name + " context ls"}}
	}
	var all []wire.Trouble
	for _, s := range saved {
		if s.Insecure {
			all = append(all, wire.Trouble{
				Check: "context", Level: "warning", What: fmt.Sprintf("context %s takes any server for %s", s.Name, s.Server),
				Mend: fmt.Sprintf("%s context add %s --force --server %s --ca FILE", c.name, s.Name, s.Server),
			})
		}
	}
	return all
}
