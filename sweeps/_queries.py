"""What is read out of the run store, and in which order: the same run gives the same rows."""

from lm_probe.sweeps._records import UNSEEN

# What counts: of the weights that a (model, revision) ever had, those asked for last; and of each probe on them (of
# each task, for lm-eval) the measurement asked for last, a sweep's before one that came from a file. So a checkpoint
# that was replaced never shares a row with its forerunner, and one that was put back shows its own numbers again.
# What is set aside (a negative number, see the schema) counts only when it is asked for again.
# Scores that came from a file which does not say what weights it had stand beside either, and never hide them.
# What hf-probe measured on the prompts of lm-eval's tasks is no choice of a run's owner: files that were evaluated task
# by task bring each probe once for each. Of those the prompts that most checkpoints of the model have count, and of
# equally many those that were evaluated last: the same ones all along the curve, in whichever order the files came.
_STANDING = f"""
    SELECT c.model, c.revision, m.probe, m.asked, json_extract(m.config, '$.task') AS task,
           json_extract(m.details, '$.imported.date') AS date,
           CASE WHEN json_extract(m.config, '$.prompts') IS NOT NULL THEN m.config_hash END AS prompts
    FROM measurements m JOIN checkpoints c ON m.checkpoint = c.id
    WHERE m.asked > 0 AND (c.identity = '{UNSEEN}' OR m.checkpoint IN (
        SELECT checkpoint FROM measurements WHERE asked IN (
            SELECT max(m.asked) FROM measurements m JOIN checkpoints c ON m.checkpoint = c.id
            WHERE c.identity != '{UNSEEN}' GROUP BY c.model, c.revision
        )
    ))
"""
CURRENT = f"""
    WITH standing AS ({_STANDING}), spread AS (
        SELECT model, probe, prompts, count(DISTINCT revision) AS checkpoints, max(date) AS latest
        FROM standing WHERE prompts IS NOT NULL GROUP BY model, probe, prompts
    ), ranked AS (
        SELECT standing.asked, row_number() OVER (
            PARTITION BY model, revision, probe, task
            ORDER BY prompts IS NOT NULL, checkpoints DESC, latest DESC, prompts, standing.asked DESC
        ) AS place
        FROM standing LEFT JOIN spread USING (model, probe, prompts)
    )
    SELECT asked FROM ranked WHERE place = 1
"""
_OF_EACH_SETTINGS = "SELECT max(asked) FROM measurements GROUP BY checkpoint, probe, config_hash"
_ON_ANY_PROMPTS = f"SELECT max(asked) FROM ({_STANDING}) GROUP BY model, revision, probe, task, prompts"
_VALUES = """
    SELECT c.model, nullif(c.revision, '') AS revision, c.step, m.probe, v.metric, v.layer, v.site, v.component,
           v.value, v.stderr, v.n, c.identity, m.config_hash AS settings
    FROM vals v JOIN measurements m ON v.measurement = m.id JOIN checkpoints c ON m.checkpoint = c.id
    WHERE m.asked IN ({})
    ORDER BY c.model, c.step IS NULL, c.step, c.revision, m.probe, v.component, v.metric, v.layer,
             CASE v.site WHEN 'embedding' THEN 0 WHEN 'block' THEN 1 WHEN 'final_norm' THEN 2 ELSE 3 END, m.asked
"""
VALUES = _VALUES.format(CURRENT)
VALUES_OF_ALL_SETTINGS = _VALUES.format(_OF_EACH_SETTINGS)
NOT_SHOWN = f'SELECT count(*) AS number FROM ({_OF_EACH_SETTINGS}) WHERE "max(asked)" NOT IN ({CURRENT})'
ROWS = f"""
    SELECT measurement, metric, layer, site, component, value, stderr, n FROM vals
    WHERE measurement IN (SELECT id FROM measurements WHERE asked IN ({CURRENT}))
"""
VECTORS = f"""
    SELECT c.model, nullif(c.revision, '') AS revision, c.step, m.probe, v.metric, v.layer, v.site, v.component,
           m.config_hash AS settings, v.data
    FROM vectors v JOIN measurements m ON v.measurement = m.id JOIN checkpoints c ON m.checkpoint = c.id
    WHERE m.asked IN ({CURRENT}) AND v.metric = ? AND (? IS NULL OR c.model = ? AND c.revision = ?)
          AND (? OR v.layer IS NULL)
    ORDER BY c.model, c.step IS NULL, c.step, c.revision, m.probe, v.component, v.layer, v.site
"""
_HOW = """
    SELECT c.model, nullif(c.revision, '') AS revision, c.step, c.identity, c.source, m.*
    FROM measurements m JOIN checkpoints c ON m.checkpoint = c.id
    WHERE m.asked IN ({})
    ORDER BY c.model, c.step IS NULL, c.step, c.revision, m.probe, json_extract(m.config, '$.task'), m.asked
"""
MEASUREMENTS = _HOW.format(CURRENT)
MEASUREMENTS_ON_ANY_PROMPTS = _HOW.format(_ON_ANY_PROMPTS)
TASK_DETAILS = f"""
    SELECT m.details FROM measurements m JOIN checkpoints c ON m.checkpoint = c.id
    WHERE m.asked IN ({CURRENT}) AND c.model = ? AND c.revision = ? AND json_extract(m.config, '$.task') = ?
"""

# A configuration's hash covers the seed and the number of a task's documents, and runs of before recorded no number.
CONFIGS = """
    SELECT config_hash, config, MAX(seed) AS seed, MAX(json_extract(details, '$.task_documents')) AS documents
    FROM measurements GROUP BY config_hash
"""
