package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"filippo.io/age"

	"omca/internal/wire"
)

const mediaAge = "application/age-encryption"

func (d *door) backupRoutes() []route {
	return []route{
		{method: http.MethodPost, path: "/api/backup", rule: root(), id: "backup",
			about: "All that the store holds, as of the end of the answer, encrypted to a recipient of age. Whoever can open it holds every key of the cluster.",
			body:  jsonBody[wire.BackupRequest](limitCSR), answer: answer{status: http.StatusOK, media: mediaAge}, audit: auditCalls, handle: d.backup},
	}
}

func (d *door) backup(_ context.Context, c *call) (response, error) {
	want, err := decode[wire.BackupRequest](c)
	if err != nil {
		return response{}, err
	}
	to, err := parseRecipient(want.Recipient)
	if err != nil {
		return response{}, fmt.Errorf("%w: recipient: %w", errBadRequest, err)
	}
	c.note(slog.String("recipient", want.Recipient))
	return response{status: http.StatusOK, stream: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaAge)
		if err := d.writeBackup(r.Context(), w, to); err != nil {
			// What was sent cannot be taken back. It is not whole, and age says so to whoever opens it.
			d.Log.ErrorContext(r.Context(), "backup failed", "request_id", c.id, "error", err)
		}
	})}, nil
}

// parseRecipient reads a public key of age: the hybrid ones too, which a quantum
// computer does not open.
func parseRecipient(text string) (age.Recipient, error) {
	if hybrid, err := age.ParseHybridRecipient(text); err == nil {
		return hybrid, nil
	}
	r, err := age.ParseX25519Recipient(text)
	if err != nil {
		return nil, errors.New("not a public key of age: \"age1…\" or \"age1pq1…\"")
	}
	return r, nil
}

func (d *door) writeBackup(ctx context.Context, w http.ResponseWriter, to age.Recipient) error {
	sealed, err := age.Encrypt(patientWriter{w, http.NewResponseController(w), d.Now}, to)
	if err != nil {
		return err
	}
	if err := d.Objects.Backup(ctx, sealed); err != nil {
		return err
	}
	return sealed.Close()
}

// patientWriter lets an answer take as long as it moves: the deadline is for
// each piece.
type patientWriter struct {
	io.Writer
	control *http.ResponseController
	now     func() time.Time
}

func (w patientWriter) Write(b []byte) (int, error) {
	const stalled = time.Minute
	if err := w.control.SetWriteDeadline(w.now().Add(stalled)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.Writer.Write(b)
}
