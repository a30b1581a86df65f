package client

import (
	"context"
	"net/http"
	"time"
)

// Trouble is something that needs a hand, and the command that mends it.
type Trouble struct {
	Check  string `json:"check"`
	Level  string `json:"level"`  // "error", "warning", or "info": nothing to mend
	Object string `json:"object"` // path; "" when it is about none
	What   string `json:"what"`
	Mend   string `json:"mend"` // "" when there is nothing to mend
}

// Diagnosis is what needs a hand, errors first, and at the end what is only good to know.
type Diagnosis struct {
	Now   time.Time `json:"now"` // by the clock of the server
	Items []Trouble `json:"items"`
}

// Doctor returns what the server finds that needs a hand. Nothing is changed.
func (c *Client) Doctor(ctx context.Context) (Diagnosis, error) {
	return call[Diagnosis](ctx, c, request{method: http.MethodGet, path: "/api/doctor"}, nil)
}
