# Redraw with `gnuplot shadow_kl.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'shadow_kl.tsv'

# One pass over the rows: the policies, ranges, budgets, the title.
policies = ''; budgets = ''; model = ''; dataset = ''; texts = ''; any_grown = 0
n_min = 1e18; n_max = 0; kept_min = 1e18; kept_max = 0; budget_min = 1e18; budget_max = 0; low = 1e18; high = 0
has(list, word) = strstrt(' '.list.' ', ' '.word.' ') > 0
grown(b, e) = b == b && e == e && e > b
note_policy(p) = has(policies, p) ? 0 : (policies = policies.' '.p, 0)
note_budget(b) = has(budgets, sprintf('%.0f', b)) ? 0 : (budgets = budgets.sprintf(' %.0f', b), 0)
note_grown(b, e) = grown(b, e) ? (any_grown = 1, 0) : 0
note_text(m, d, t) = (model = m, dataset = d, texts = t, 0)
note_n(n) = (n_min = n < n_min ? n : n_min, n_max = n > n_max ? n : n_max, 0)
note_kept(k) = (kept_min = k < kept_min ? k : kept_min, kept_max = k > kept_max ? k : kept_max, 0)
note_range(b) = (budget_min = b < budget_min ? b : budget_min, budget_max = b > budget_max ? b : budget_max, 0)
note_kl(l, h) = (low = l < low ? l : low, high = h > high ? h : high, 0)
stats data using (note_policy(strcol('policy')) + note_budget(column('budget')) \
    + note_grown(column('budget'), column('effective')) + note_n(column('n')) \
    + note_text(strcol('model'), strcol('dataset'), strcol('texts')) + note_kept(column('kept')) \
    + note_range(column('budget')) + note_kl(column('kl'), column('kl')) \
    + (column('hi') == column('hi') ? note_kl(column('lo'), column('hi')) : 0)) nooutput
N = words(policies)
policy(i) = word(policies, i)
colour(i) = style_colour(policy(i), i)
pale(i) = style_pale(policy(i), i)
marker(i) = style_marker(policy(i), i)

# Rows of policy i; neighbours at one budget stand a little apart.
kept_log = kept_max > 8 * kept_min
budget_log = budget_max > 8 * budget_min
kept_pad = 0.06 * (kept_max - kept_min) + 0.04 * kept_max
budget_pad = 0.12 * (budget_max - budget_min) + 0.05 * budget_max
shift(i) = i - (N + 1) / 2.0
apart(x, i) = budget_log ? x * 1.02 ** shift(i) : x + shift(i) * 0.012 * (budget_max - budget_min + 2 * budget_pad)
kept(i) = strcol('policy') eq policy(i) ? column('kept') : NaN
asked(i) = strcol('policy') eq policy(i) ? apart(column('budget'), i) : NaN
asked_grown(i) = grown(column('budget'), column('effective')) ? asked(i) : NaN

# The legend: entries in columns below both panels, which the figure grows by.
longest = 4
do for [p in policies] { longest = strlen(p) > longest ? strlen(p) : longest }
entry_px = 8.4 * longest + 46
fitting = entry_px > 960 ? 1 : int(960 / entry_px)
rows_of(columns) = (N + columns - 1) / columns
legend_rows = rows_of(fitting)
legend_columns = rows_of(legend_rows)
height = 424 + 24 * legend_rows
legend_x(i) = 0.5 + (((i - 1) % legend_columns) - legend_columns / 2.0) * entry_px / 1000.0 + 0.015
legend_y(i) = (24.0 * (legend_rows - (i - 1) / legend_columns) - 6) / height
bottom = (88 + 24.0 * legend_rows) / height
top = 1 - 44.0 / height
counts = n_min == n_max ? sprintf('n = %.0f', n_max) : sprintf('n = %.0f to %.0f', n_min, n_max)

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size 1000, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2000, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'shadow_kl.'.format
    set multiplot layout 1, 2 title dataset.', '.texts.'    '.model.'    '.counts font ',13'
    load 'style.gp'
    set logscale y
    set yrange [low / 1.5 : high * 1.5]
    set ytics nomirror format '%g'
    if (high < 50 * low) { # within a decade or two powers of ten are too few
        do for [power = -9 : 3] { do for [m in '2 5'] { v = m * 10.0 ** power; set ytics add (sprintf('%g', v) v) } }
    }
    unset key
    set tmargin at screen top; set bmargin at screen bottom

    set lmargin at screen 0.085; set rmargin at screen 0.51
    set xlabel 'kept tokens per layer and KV head (mean of peaks)'
    set ylabel 'KL from full, nats per token (mean, 95 %)'
    unset logscale x
    if (kept_log) { set logscale x 2; set xrange [kept_min / 1.2 : kept_max * 1.2] } \
    else { set xrange [kept_min - kept_pad : kept_max + kept_pad] }
    set xtics nomirror auto
    plot for [i = 1:N] data using (kept(i)):'kl':'lo':'hi' with yerrorbars lw 1.2 pt -1 lc rgb pale(i), \
        for [i = 1:N] data using (kept(i)):'kl' with linespoints lw 1.6 pt marker(i) ps 0.9 lc rgb colour(i)

    set lmargin at screen 0.565; set rmargin at screen 0.99
    set xlabel 'asked budget (tokens)'.(any_grown ? '; hollow: grown beyond it' : '')
    unset ylabel
    unset logscale x
    if (budget_log) { set logscale x 2; set xrange [budget_min / 1.2 : budget_max * 1.2] } \
    else { set xrange [budget_min - budget_pad : budget_max + budget_pad] }
    set xtics nomirror ()
    do for [b in budgets] { set xtics add (b b + 0) }
    do for [i = 1:N] {
        set label i policy(i) at screen legend_x(i), legend_y(i) left offset 1.2, -0.2 \
            point pt marker(i) ps 0.9 lc rgb colour(i)
    }
    plot for [i = 1:N] data using (asked(i)):'kl':'lo':'hi' with yerrorbars lw 1.2 pt -1 lc rgb pale(i), \
        for [i = 1:N] data using (asked(i)):'kl' with linespoints lw 1.6 pt marker(i) ps 0.9 lc rgb colour(i), \
        for [i = 1:N] data using (asked_grown(i)):'kl' with points pt marker(i) ps 0.55 lc rgb '#ffffff'

    unset multiplot
    unset label
    unset output
}
