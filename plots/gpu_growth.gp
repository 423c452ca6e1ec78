# step time and memory against decoded tokens (raas bench gpu --draw FILE)
# Redraw with `gnuplot gpu_growth.gp` in the folder that holds this, style.gp and the data.
load 'style.gp'
data = 'gpu_growth.tsv'

# One pass over the rows: the policies in their order, budgets, ranges, the title.
policies = ''; budgets = ''; setting = ''; gpu = ''
tokens_max = 0; tokens_min = 1e18
has(list, word) = strstrt(' '.list.' ', ' '.word.' ') > 0
note_policy(p) = has(policies, p) ? 0 : (policies = policies.' '.p, 0)
note_budget(b) = (strlen(b) == 0 || has(budgets, b)) ? 0 : (budgets = budgets.' '.b, 0)
note_text(s, b, h, g) = (setting = s.', batch '.b.(h eq 'filled' ? ', cache filled up to each point' : ''), gpu = g, 0)
note_tokens(t) = (tokens_max = t > tokens_max ? t : tokens_max, tokens_min = t < tokens_min ? t : tokens_min, 0)
stats data using (note_policy(strcol('policy')) + note_budget(strcol('budget')) + note_tokens(column('tokens')) \
    + note_text(strcol('shape'), strcol('batch'), strcol('how'), strcol('gpu'))) nooutput
N = words(policies)
policy(i) = word(policies, i)
colour(i) = style_colour(policy(i), i)
pale(i) = style_pale(policy(i), i)
marker(i) = style_marker(policy(i), i)
of(i, c) = strcol('policy') eq policy(i) ? column(c) : NaN
mib(i) = strcol('policy') eq policy(i) ? column('kv_bytes') / 1048576.0 : NaN

# The legend: one row of entries below both panels, several where they are many.
longest = 5
do for [p in policies] { longest = strlen(p) > longest ? strlen(p) : longest }
entries = N + 1
entry_px = 8.4 * longest + 46
fitting = entry_px > 960 ? 1 : int(960 / entry_px)
rows_of(columns) = (entries + columns - 1) / columns
legend_rows = rows_of(fitting)
legend_columns = rows_of(legend_rows)
height = 424 + 24 * legend_rows
legend_x(i) = 0.5 + (((i - 1) % legend_columns) - legend_columns / 2.0) * entry_px / 1000.0 + 0.015
legend_y(i) = (24.0 * (legend_rows - (i - 1) / legend_columns) - 6) / height
bottom = (88 + 24.0 * legend_rows) / height
top = 1 - 44.0 / height

title = setting.(words(budgets) ? '    budget'.budgets : '').'    '.gpu
set xrange [0 : 1.03 * tokens_max]
set yrange [0 : *]
set xlabel 'decoded tokens'

do for [format in 'svg png'] {
    if (format eq 'svg') {
        set terminal svg size 1000, height font 'DejaVu Sans,12' background '#ffffff' noenhanced
    } else {
        set terminal pngcairo size 2000, 2 * height font 'DejaVu Sans,12' fontscale 1.65 linewidth 2 dashlength 1.5 \
            pointscale 2 background '#ffffff' noenhanced
    }
    set output 'gpu_growth.'.format
    set multiplot layout 1, 2 title title font ',13'
    load 'style.gp'
    unset key
    set tmargin at screen top; set bmargin at screen bottom
    set xtics nomirror auto
    set ytics nomirror auto

    set lmargin at screen 0.075; set rmargin at screen 0.490
    set ylabel 'time of a step (ms)'
    plot for [i = 1:N] data using 'tokens':(of(i, 'floor_ms')) with lines lw 1.2 dashtype (6, 5) lc rgb pale(i), \
        for [i = 1:N] data using 'tokens':(of(i, 'step_ms')) with linespoints lw 1.6 pt marker(i) ps 0.7 lc rgb colour(i)

    set lmargin at screen 0.575; set rmargin at screen 0.99
    set ylabel 'KV cache of a sequence (MiB)'
    do for [i = 1:N] {
        set label i policy(i) at screen legend_x(i), legend_y(i) left offset 1.2, -0.2 \
            point pt marker(i) ps 0.9 lc rgb colour(i)
    }
    set label entries 'floor' at screen legend_x(entries), legend_y(entries) left offset 1.7, 0
    set arrow 1 from screen legend_x(entries) - 0.010, legend_y(entries) \
        to screen legend_x(entries) + 0.010, legend_y(entries) nohead lw 1.4 dashtype (6, 4) lc rgb '#888888'
    plot for [i = 1:N] data using 'tokens':(mib(i)) with linespoints lw 1.6 pt marker(i) ps 0.7 lc rgb colour(i)

    unset multiplot
    unset label; unset arrow
    unset output
}
