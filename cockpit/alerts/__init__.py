"""Alerts: what needs somebody who looks at no screen, told to webhooks, commands and syslog.

`settings` reads the file, `detect` turns rows into conditions, `grouping` conditions into alerts and notices (both
pure), `deliver` sends them. Their place in the controller is `cockpit.controller.alerting`.
"""
