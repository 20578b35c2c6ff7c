{# On a GPU: the current that a stimulus, or a layer of neurons that do not spike, sends through a projection. #}
{# USES_VARIABLES { t_in_timesteps } #}
{% extends 'common_group.cpp' %}
{% from 'fused_cuda_arrays.cu' import on_device, of_image %}
{% block maincode %}
{% macro _array(name) %}{{get_array_name(variables[name])}}{% endmacro %}
{% set arrays = device_arrays(variables) %}
    typedef {{c_data_type(real)}} _real;
    const int _step = {{t_in_timesteps}};
    {% if held %}
    if (_step) return;
    {% endif %}
{{ on_device(arrays) }}
    shared::each_row({{target_pixels}}, {{tiles}}, [=] __device__ (shared::Row _at) {
{{ of_image(arrays) }}
        const int _from = {{_array('in0_first')}}[_at.pixel], _to = {{_array('in0_first')}}[_at.pixel + 1];
        const shared::Stretches _seen = {
            {{_array('in0_begin')}} + _from, {{_array('in0_end')}} + _from, {{_array('in0_shift')}} + _from, _to - _from};
        {% if maximum %}
        shared::max_current<_real, {{blocks}}, {{channels}}>(
            {{_array('in0_current')}} + _at.pixel * {{target_channels}}, _at.tile * {{32 * blocks}} + _at.lane, _seen,
            {{_array('in0_values')}});
        {% else %}
        shared::sum_current<_real, {{blocks}}, {{channels}}, {{row}}, {{stride}}, {{per_row}}>(
            {{_array('in0_current')}} + _at.pixel * {{target_channels}} + {{offset}}, {{_array('in0_kernel')}},
            _at.tile * {{32 * blocks}} + _at.lane - {{offset}}, _seen,
            {{_array('in0_values')}} + {{start}} + (std::size_t)_step * {{from_step}});
        {% endif %}
    });
{% endblock %}
