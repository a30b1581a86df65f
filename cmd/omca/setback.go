package main

import "context"

// acceptRollback takes a store that was set back as it is.
func acceptRollback(ctx context.Context, c *call) error {
	const lost = "what was revoked since the copy was made may be accepted again: \"omca doctor\" says what is missing"
	if err := c.consent(ctx, "accept-rollback", "take the store as it is?", lost); err != nil {
		return err
	}
	api, err := c.api(ctx)
	if err != nil {
		return err
	}
	done, err := api.AcceptRollback(ctx)
	if err != nil {
		return err
	}
	if len(done.Reasons) == 0 {
		c.print("the store is what was written last: there is nothing to accept\n")
		return nil
	}
	for _, reason := range done.Reasons {
		c.print("accepted: %s\n", reason)
	}
	return nil
}
