package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// Backup writes a backup of the whole store to w, encrypted to a recipient of age. It is whole when age can read it to its end.
func (c *Client) Backup(ctx context.Context, recipient string, w io.Writer) error {
	body, err := asJSON(struct {
		Recipient string `json:"recipient"`
	}{recipient}).MarshalJSON()
	if err != nil {
		return err
	}
	resp, err := c.open(ctx, request{method: http.MethodPost, path: "/api/backup", contentType: "application/json", body: body})
	if err != nil {
		return err
	}
	defer resp.Close() // what matters was read
	if _, err := io.Copy(w, resp); err != nil {
		return fmt.Errorf("receiving the backup: %w", err)
	}
	return nil
}
