package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"omca/internal/home"
)

// saveEvery is how often the time of the last word goes to the disk: a node that
// starts while the source is away takes its copy for older than it is, by that.
const saveEvery = 30 * time.Second

// A note stands beside the copy, in a file of its own.
type note struct {
	Origin string    `json:"origin"`        // of the source
	Home   string    `json:"home"`          // of this copy, as no other has it
	Word   time.Time `json:"word,omitzero"` // when the copy on the disk was current; zero: it is not whole yet
}

func notePath(copyPath string) string { return copyPath + ".note" }

// readNote returns the note of a copy, the zero note when there is none.
func readNote(copyPath string) (note, error) {
	text, err := os.ReadFile(notePath(copyPath))
	if errors.Is(err, fs.ErrNotExist) {
		return note{}, nil
	}
	if err != nil {
		return note{}, err
	}
	var n note
	if err := json.Unmarshal(text, &n); err != nil || n.Origin == "" || n.Home == "" {
		return note{}, fmt.Errorf("%s: not what a node notes of its copy: %w", notePath(copyPath), errors.Join(err, errNoOrigin))
	}
	return n, nil
}

var errNoOrigin = errors.New("it is to name the store and the copy")

// writeNote replaces the note as a whole.
func writeNote(copyPath string, n note) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	path := notePath(copyPath)
	return home.Replace(path, filepath.Base(path)+".new-*", text)
}

// save has the disk hold the copy, and then when it was current.
func (s *Store) save() error {
	s.mu.Lock()
	n, saved := note{Origin: s.origin, Home: s.home, Word: s.word}, s.saved
	s.mu.Unlock()
	if n.Word.Equal(saved) {
		return nil
	}
	err := s.copy.Sync()
	if err == nil {
		err = writeNote(s.path, n)
	}
	s.mu.Lock()
	s.saved = n.Word // or tried: again when it is due again
	s.mu.Unlock()
	return err
}
